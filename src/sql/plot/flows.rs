//! How much goes from where to where: nodes in layers from left to right, and bands between them.

use std::collections::HashMap;

/// More nodes of a layer cannot be told apart.
const NODES_MAX: usize = 60;
/// What is free between the nodes of a layer, of the height.
const GAPS: f64 = 0.25;

/// Something that flows pass.
#[derive(Debug, PartialEq)]
pub(super) struct Node {
    pub name: String,
    /// How much passes it: what comes, or what goes where that is more.
    pub amount: f64,
    /// Its place from the left.
    pub layer: usize,
    /// Where it begins and how high it is, as shares of the height.
    pub top: f64,
    pub share: f64,
}

/// What flows from one node to another.
#[derive(Debug, PartialEq)]
pub(super) struct Band {
    pub from: usize,
    pub to: usize,
    pub amount: f64,
    /// How high it is, and where it begins at either end, as shares of the height.
    pub share: f64,
    pub leaves_at: f64,
    pub arrives_at: f64,
}

/// All that flows.
#[derive(Debug, PartialEq)]
pub(super) struct Flows {
    pub nodes: Vec<Node>,
    pub bands: Vec<Band>,
    pub layers: usize,
}

impl Flows {
    /// Of rows: from where, to where, how much.
    pub fn of(rows: impl Iterator<Item = (String, String, f64)>) -> Result<Flows, String> {
        let (mut places, mut nodes) = (HashMap::new(), Vec::<Node>::new());
        let mut amounts: HashMap<(usize, usize), f64> = HashMap::new();
        let mut order = Vec::new();
        for (from, to, amount) in rows {
            if amount < 0.0 {
                return Err(format!("{amount} flow from {from} to {to}: no flow is below 0"));
            }
            let mut place = |name: String| {
                *places.entry(name.clone()).or_insert_with(|| {
                    nodes.push(Node { name, amount: 0.0, layer: 0, top: 0.0, share: 0.0 });
                    nodes.len() - 1
                })
            };
            let ends = (place(from), place(to));
            let sum = amounts.entry(ends).or_insert_with(|| {
                order.push(ends);
                0.0
            });
            *sum += amount;
            if nodes.len() > NODES_MAX {
                return Err(format!(
                    "there are more than {NODES_MAX} ends of flows: ask for fewer, as with ORDER BY and LIMIT"
                ));
            }
        }
        let band =
            |(from, to)| Band { from, to, amount: amounts[&(from, to)], share: 0.0, leaves_at: 0.0, arrives_at: 0.0 };
        let bands = order.into_iter().map(band).filter(|band| band.amount > 0.0).collect();
        let mut flows = Flows { nodes, bands, layers: 0 };
        flows.place()?;
        flows.layout();
        Ok(flows)
    }

    /// Each node to the right of all from which something comes.
    fn place(&mut self) -> Result<(), String> {
        for round in 0..=self.nodes.len() {
            let mut moved = None;
            for band in &self.bands {
                let least = self.nodes[band.from].layer + 1;
                if self.nodes[band.to].layer < least {
                    self.nodes[band.to].layer = least;
                    moved = Some(band.to);
                }
            }
            match moved {
                None => break,
                Some(node) if round == self.nodes.len() => {
                    return Err(format!("flows go round in a circle by {}", self.nodes[node].name));
                }
                Some(_) => {}
            }
        }
        self.layers = self.nodes.iter().map(|node| node.layer + 1).max().unwrap_or(0);
        // Ends are under each other.
        for place in 0..self.nodes.len() {
            if self.bands.iter().all(|band| band.from != place) {
                self.nodes[place].layer = self.layers - 1;
            }
        }
        Ok(())
    }

    fn layout(&mut self) {
        for (place, node) in self.nodes.iter_mut().enumerate() {
            let sum = |of: fn(&Band) -> usize| -> f64 {
                self.bands.iter().filter(|band| of(band) == place).map(|band| band.amount).sum()
            };
            node.amount = sum(|band| band.from).max(sum(|band| band.to));
        }
        let layer_sum = |layer: usize| -> f64 {
            self.nodes.iter().filter(|node| node.layer == layer).map(|node| node.amount).sum()
        };
        let highest = (0..self.layers).map(layer_sum).fold(f64::MIN_POSITIVE, f64::max);
        let share = |amount: f64| amount / highest * (1.0 - GAPS);
        for layer in 0..self.layers {
            let mut of_layer: Vec<usize> = (0..self.nodes.len()).filter(|at| self.nodes[*at].layer == layer).collect();
            of_layer.sort_by(|one, other| self.nodes[*other].amount.total_cmp(&self.nodes[*one].amount));
            let gap = GAPS / of_layer.len().max(2) as f64;
            let mut top = 0.0;
            for place in of_layer {
                let node = &mut self.nodes[place];
                (node.top, node.share) = (top, share(node.amount));
                top += node.share + gap;
            }
        }
        // Bands leave and arrive in the order of the nodes at their other ends, so that few cross.
        let tops: Vec<f64> = self.nodes.iter().map(|node| node.top).collect();
        self.bands.iter_mut().for_each(|band| band.share = share(band.amount));
        self.bands.sort_by(|one, other| tops[one.to].total_cmp(&tops[other.to]));
        let mut used = vec![0.0; self.nodes.len()];
        for band in &mut self.bands {
            band.leaves_at = tops[band.from] + used[band.from];
            used[band.from] += band.share;
        }
        self.bands.sort_by(|one, other| tops[one.from].total_cmp(&tops[other.from]));
        used.fill(0.0);
        for band in &mut self.bands {
            band.arrives_at = tops[band.to] + used[band.to];
            used[band.to] += band.share;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flows(rows: &[(&str, &str, f64)]) -> Result<Flows, String> {
        Flows::of(rows.iter().map(|(from, to, amount)| ((*from).to_owned(), (*to).to_owned(), *amount)))
    }

    #[test]
    fn nodes_are_right_of_what_they_come_from_and_ends_are_last() {
        let flows = flows(&[("a", "b", 3.0), ("b", "bought", 1.0), ("b", "left", 2.0), ("a", "left", 1.0)]).unwrap();
        let node = |name: &str| flows.nodes.iter().find(|node| node.name == name).unwrap();
        assert_eq!(["a", "b", "bought", "left"].map(|name| node(name).layer), [0, 1, 2, 2]);
        assert_eq!(["a", "b", "bought", "left"].map(|name| node(name).amount), [4.0, 3.0, 1.0, 3.0]);
        for (place, node) in flows.nodes.iter().enumerate() {
            let of = |end: fn(&Band) -> usize| {
                flows.bands.iter().filter(|band| end(band) == place).map(|band| band.share).sum::<f64>()
            };
            assert!(of(|band| band.from) <= node.share + 1e-9 && of(|band| band.to) <= node.share + 1e-9, "{node:?}");
            assert!(node.top + node.share <= 1.0 + 1e-9, "{node:?}");
        }
    }

    #[test]
    fn what_goes_round_or_below_nothing_is_refused() {
        assert_eq!(flows(&[("a", "b", 1.0), ("b", "a", 1.0)]).unwrap_err(), "flows go round in a circle by a");
        assert_eq!(flows(&[("a", "b", -1.0)]).unwrap_err(), "-1 flow from a to b: no flow is below 0");
    }
}
