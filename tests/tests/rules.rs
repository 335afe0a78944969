//! Each rule of `PROTOCOL.md` is cited by a test: a comment above its `#[test]` such as `// [J1] [J2]`.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Returns the root of the workspace.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Returns the numbers of rules in a text, such as `J1` for `[J1]`.
fn numbers(text: &str) -> impl Iterator<Item = &str> {
    text.split('[').skip(1).filter_map(|rest| {
        let (number, _) = rest.split_once(']')?;
        let digits = number.strip_prefix(|letter: char| letter.is_ascii_uppercase())?;
        (digits.parse::<u8>().is_ok()).then_some(number)
    })
}

/// Returns the rules that the tests in a file cite.
fn cited(source: &str) -> impl Iterator<Item = &str> {
    let lines = source.lines().map(str::trim);
    let behind = source.lines().map(str::trim).skip(1);
    let mut citations = Vec::new();
    let mut cited = Vec::new();
    for (line, next) in lines.zip(behind) {
        if line.starts_with("// [") {
            citations.extend(numbers(line));
        }
        let is_before_test = next.starts_with("//") || next.starts_with("#[");
        if next == "#[test]" {
            cited.append(&mut citations);
        } else if !is_before_test {
            citations.clear();
        }
    }
    cited.into_iter()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn each_rule_of_the_protocol_is_cited_by_a_test() {
    let protocol = fs::read_to_string(root().join("core/PROTOCOL.md")).unwrap();
    let bold = protocol.split("**").skip(1).step_by(2);
    let stated: Vec<&str> = bold
        .filter(|bold| bold.starts_with('['))
        .filter_map(|bold| numbers(bold).next())
        .collect();
    let rules: BTreeSet<&str> = stated.iter().copied().collect();
    assert_eq!(rules.len(), stated.len(), "a number is used twice");
    assert!(rules.len() > 80, "{}", rules.len());
    for number in numbers(&protocol) {
        assert!(rules.contains(number), "there is no rule [{number}]");
    }
    let mut files = Vec::new();
    for folder in ["core", "host", "embedded", "tests"] {
        sources(&root().join(folder), &mut files);
    }
    let this = files
        .iter()
        .position(|file| file.ends_with("tests/tests/rules.rs"));
    files.remove(this.unwrap());
    let mut missing = rules.clone();
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        for rule in cited(&source) {
            assert!(rules.contains(rule), "{}: [{rule}]", file.display());
            missing.remove(rule);
        }
    }
    assert!(missing.is_empty(), "no test cites {missing:?}");
}

#[test]
fn only_a_comment_above_a_test_cites() {
    let source = "// [J1]\n#[test]\nfn a() {}\n// [J2] [T13]\n/// Why.\n#[ignore = \"x\"]\n#[test]\n\
        // [J3]\nfn b() {\n    // [J4]\n    c();\n}\n// [J5]\n\n#[test]\n// see J6 [7] [JJ8]\n#[test]\n";
    assert_eq!(cited(source).collect::<Vec<_>>(), ["J1", "J2", "T13"]);
}
