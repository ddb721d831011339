//! The rules of the house that no compiler checks: who may use what, and that every file says what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Lines of a file beyond which it should have been two.
const LINES_MAX: usize = 600;

fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    found
}

fn assert_absent(dir: &str, words: &[&str], why: &str) {
    for (path, text) in sources(dir) {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (line, number) in code.lines().zip(1..) {
            if let Some(word) = words.iter().find(|word| line.contains(**word) && !line.trim_start().starts_with("//"))
            {
                panic!("{}:{number}: `{word}`: {why}", path.display());
            }
        }
    }
}

#[test]
fn views_read_no_clock_no_files_and_no_dice() {
    let words = ["Instant", "SystemTime", "std::fs", "std::net", "rand::", "tokio", "thread::sleep"];
    assert_absent("dataflows/src", &words, "a view is a function of the accepted records");
}

#[test]
fn operators_know_no_advertising() {
    assert_absent("operators/src", &["schemas::", "Install", "Campaign", "Impression"], "operators are generic");
}

#[test]
fn schemas_do_no_work() {
    assert_absent("schemas/src", &["timely", "differential", "std::fs", "TcpStream", "tokio"], "schemas only describe");
}

#[test]
fn only_the_clock_asks_the_system_for_the_time() {
    for (path, text) in sources("src") {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        assert!(path.ends_with("clock.rs") || !code.contains("SystemTime::now"), "{}: use the clock", path.display());
    }
}

/// The files of a crate that each file names, tests apart, by their module paths.
fn imports(dir: &str) -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let module = |path: &Path| {
        let path = path.strip_prefix(&root).unwrap().with_extension("");
        let parts: Vec<_> = path.iter().map(|part| part.to_str().unwrap()).filter(|part| *part != "mod").collect();
        parts.join("::")
    };
    let is_test = |module: &str| module.split("::").any(|part| part.ends_with("tests") || part == "simulation");
    let files: BTreeMap<String, String> = sources(dir)
        .into_iter()
        .map(|(path, text)| (module(&path), text))
        .filter(|(module, _)| module != "lib" && !is_test(module))
        .collect();
    // The file of a path is that of its longest beginning which is one.
    let file = |path: &str| {
        let mut path = path;
        while !files.contains_key(path) {
            path = path.rsplit_once("::")?.0;
        }
        Some(path.to_owned())
    };
    let of = |module: &str, text: &str| {
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = lines.collect::<Vec<_>>().join(" ");
        let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
        let mut named = BTreeSet::new();
        for (start, from) in [("crate::", ""), ("super::", parent)] {
            for (at, _) in code.match_indices(start) {
                let rest = &code[at + start.len()..];
                let end =
                    rest.find(|char: char| !(char.is_alphanumeric() || "_:".contains(char))).unwrap_or(rest.len());
                let (path, after) = rest.split_at(end);
                let group = after.strip_prefix('{').and_then(|group| group.split('}').next()).unwrap_or_default();
                let each = group.split(',').map(|name| format!("{path}{}", name.trim().split("::").next().unwrap()));
                let all = each.chain([path.trim_end_matches(':').to_owned()]);
                let full = all.map(|path| if from.is_empty() { path } else { format!("{from}::{path}") });
                named.extend(full.filter_map(|path| file(&path)).filter(|other| other != module));
            }
        }
        named
    };
    files.iter().map(|(module, text)| (module.clone(), of(module, text))).collect()
}

#[test]
fn no_file_needs_one_that_needs_it() {
    for dir in ["src", "dataflows/src", "operators/src", "schemas/src"] {
        let files = imports(dir);
        // Files may be in order while their folders are not.
        let folder = |module: &String| module.split("::").next().unwrap().to_owned();
        let mut folders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (module, needs) in &files {
            let others = needs.iter().map(folder).filter(|other| *other != folder(module));
            folders.entry(folder(module)).or_default().extend(others);
        }
        assert!(files.values().any(|needs| !needs.is_empty()), "{dir}");
        assert_no_circle(dir, files);
        // Of the other crates a folder is no layer: `dataflows/src/views` stands beside the files that views are made of.
        if dir == "src" {
            assert_no_circle("the folders of src", folders);
        }
    }
}

/// Takes out whoever needs nothing that is left, until all are out, or each needs another that is left.
fn assert_no_circle(of: &str, mut needs: BTreeMap<String, BTreeSet<String>>) {
    while let Some(free) = needs.iter().find(|(_, needs)| needs.is_empty()).map(|(module, _)| module.clone()) {
        needs.remove(&free);
        needs.values_mut().for_each(|needs| _ = needs.remove(&free));
    }
    // Nor is in the circle whom nobody needs.
    while let Some(top) = needs.keys().find(|module| !needs.values().any(|needs| needs.contains(*module))) {
        let top = top.clone();
        needs.remove(&top);
    }
    assert!(needs.is_empty(), "a circle of imports in {of}: {needs:#?}");
}

#[test]
fn every_file_says_what_it_holds_and_stays_small() {
    for dir in ["schemas/src", "operators/src", "dataflows/src", "src", "jobs", "tests", "benchmarks"] {
        for (path, text) in sources(dir) {
            assert!(text.starts_with("//!"), "{}: begins without saying what it holds", path.display());
            assert!(text.lines().count() <= LINES_MAX, "{}: over {LINES_MAX} lines", path.display());
        }
    }
}
