//! Which component a node is in, and what was said of it.
//!
//! The members of a component are a ring through the nodes, so that two become one at once and one leaves at once. What a component
//! says, its name and whether it is large, is kept with it, so that nodes of a component that says the same as before are not visited.

/// No node.
const NONE: u32 = u32::MAX;

/// What is said of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// The least node of its component.
    pub(super) least: u32,
    /// Whether that is large.
    pub(super) large: bool,
}

#[derive(Clone, Copy)]
struct Place {
    /// None where it is no node's number.
    component: u32,
    next: u32,
    before: u32,
    /// What was said of it last.
    said: Option<Label>,
}

#[derive(Clone, Copy)]
struct Component {
    /// 0 where it is none.
    size: u32,
    /// One of its nodes.
    one: u32,
    /// The least of them; [`NONE`] where that has left.
    least: u32,
    /// What was said of all of its nodes but those that have joined at this time.
    said: Option<Label>,
    /// Whether it is among those that have changed at this time.
    changed: bool,
}

/// The components of the nodes of a worker.
#[derive(Default)]
pub(super) struct Partition {
    places: Vec<Place>,
    components: Vec<Component>,
    free: Vec<u32>,
    /// Components that have changed at this time.
    changed: Vec<u32>,
    /// Those that are no more since.
    ended: Vec<u32>,
    /// Nodes that have joined another component.
    joined: Vec<u32>,
}

impl Partition {
    /// Has a node in a component of its own where it is in none.
    pub(super) fn cover(&mut self, node: u32) {
        let nodes = node as usize + 1;
        if self.places.len() < nodes {
            self.places.resize(nodes, Place { component: NONE, next: NONE, before: NONE, said: None });
        }
        if self.places[node as usize].component == NONE {
            let component = self.new_component();
            self.enter(node, component);
            self.components[component as usize].least = node;
        }
    }

    /// The component of a node, as long as none is joined or parted.
    pub(super) fn component(&self, node: u32) -> u32 {
        self.places[node as usize].component
    }

    /// Makes the components of two nodes one.
    pub(super) fn join(&mut self, nodes: [u32; 2], less: impl Fn(u32, u32) -> bool) {
        let of = nodes.map(|node| self.component(node));
        if of[0] == of[1] {
            return;
        }
        let sizes = of.map(|component| self.components[component as usize].size);
        let (kept, ends) = if sizes[0] < sizes[1] { (of[1], of[0]) } else { (of[0], of[1]) };
        let Component { one, least, size, .. } = self.components[ends as usize];
        let mut node = one;
        loop {
            self.joined.push(node);
            let place = &mut self.places[node as usize];
            place.component = kept;
            node = place.next;
            if node == one {
                break;
            }
        }
        // Two rings become one where each is open between a node and the next.
        let (last, other) = (self.places[one as usize].before, self.components[kept as usize].one);
        let after = self.places[other as usize].next;
        (self.places[other as usize].next, self.places[one as usize].before) = (one, other);
        (self.places[last as usize].next, self.places[after as usize].before) = (after, last);
        self.components[ends as usize].size = 0;
        self.ended.push(ends);
        self.change(kept);
        let kept = &mut self.components[kept as usize];
        kept.size += size;
        if less(least, kept.least) {
            kept.least = least;
        }
    }

    /// Takes some nodes of a component, but not all, into one of their own.
    pub(super) fn part(&mut self, nodes: &[u32], less: impl Fn(u32, u32) -> bool) {
        let (from, to) = (self.component(nodes[0]), self.new_component());
        let mut least = nodes[0];
        for node in nodes {
            self.leave(*node, from);
            self.enter(*node, to);
            if less(*node, least) {
                least = *node;
            }
        }
        self.components[to as usize].least = least;
        self.change(from);
        let left = &mut self.components[from as usize];
        if left.least != NONE && self.places[left.least as usize].component != from {
            left.least = NONE;
        }
    }

    /// Ends what happens at a time: of each node of which something else is to be said than was said before, both. Of one that does not
    /// stand nothing is said.
    pub(super) fn end_tick(
        &mut self,
        large_above: usize,
        less: impl Fn(u32, u32) -> bool,
        stands: impl Fn(u32) -> bool,
        mut tell: impl FnMut(u32, Option<Label>, Option<Label>),
    ) {
        for at in std::mem::take(&mut self.changed) {
            let Component { size, one, least, said, .. } = self.components[at as usize];
            self.components[at as usize].changed = false;
            if size == 0 {
                continue;
            }
            let least = if least == NONE { self.find_least(one, &less) } else { least };
            let label = Some(Label { least, large: size as usize > large_above });
            let component = &mut self.components[at as usize];
            (component.least, component.said) = (least, label);
            // One that is alone stands no more.
            if label != said || size == 1 {
                let mut node = one;
                loop {
                    self.say(node, label.filter(|_| stands(node)), &mut tell);
                    node = self.places[node as usize].next;
                    if node == one {
                        break;
                    }
                }
            }
        }
        for node in std::mem::take(&mut self.joined) {
            let label = self.components[self.component(node) as usize].said;
            self.say(node, label.filter(|_| stands(node)), &mut tell);
        }
        self.free.append(&mut self.ended);
    }

    /// Forgets a node that is alone, between times.
    pub(super) fn remove(&mut self, node: u32) {
        let component = std::mem::replace(&mut self.places[node as usize].component, NONE);
        assert_eq!(self.components[component as usize].size, 1, "a node without links is alone");
        self.components[component as usize].size = 0;
        self.free.push(component);
    }

    fn say(&mut self, node: u32, label: Option<Label>, tell: &mut impl FnMut(u32, Option<Label>, Option<Label>)) {
        let said = std::mem::replace(&mut self.places[node as usize].said, label);
        if said != label {
            tell(node, said, label);
        }
    }

    fn find_least(&self, one: u32, less: &impl Fn(u32, u32) -> bool) -> u32 {
        let (mut least, mut node) = (one, self.places[one as usize].next);
        while node != one {
            if less(node, least) {
                least = node;
            }
            node = self.places[node as usize].next;
        }
        least
    }

    fn new_component(&mut self) -> u32 {
        let new = Component { size: 0, one: NONE, least: NONE, said: None, changed: false };
        let component = match self.free.pop() {
            Some(component) => {
                self.components[component as usize] = new;
                component
            }
            None => {
                self.components.push(new);
                (self.components.len() - 1) as u32
            }
        };
        self.change(component);
        component
    }

    fn change(&mut self, component: u32) {
        if !std::mem::replace(&mut self.components[component as usize].changed, true) {
            self.changed.push(component);
        }
    }

    /// Puts a node that is in no component into one.
    fn enter(&mut self, node: u32, component: u32) {
        let to = &mut self.components[component as usize];
        let (next, before) = match to.size {
            0 => (node, node),
            _ => (to.one, self.places[to.one as usize].before),
        };
        to.size += 1;
        to.one = node;
        let place = &mut self.places[node as usize];
        (place.component, place.next, place.before) = (component, next, before);
        self.places[next as usize].before = node;
        self.places[before as usize].next = node;
    }

    /// Takes a node out of its component, which has others.
    fn leave(&mut self, node: u32, component: u32) {
        let Place { next, before, .. } = self.places[node as usize];
        self.places[next as usize].before = before;
        self.places[before as usize].next = next;
        let from = &mut self.components[component as usize];
        from.size -= 1;
        if from.one == node {
            from.one = next;
        }
    }
}
