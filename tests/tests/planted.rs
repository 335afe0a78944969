//! The rows of planted bugs match the sources that they change.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kilochat_tests::planted::{FOUND_BY_CORPUS, PLACEHOLDER, ROWS, Row, bugs, planted};

#[test]
fn the_text_of_each_row_is_in_its_file_exactly_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files: BTreeSet<_> = ROWS.iter().map(|row| row.file).collect();
    let complaints: Vec<_> = files
        .into_iter()
        .filter_map(|file| match fs::read_to_string(root.join(file)) {
            Ok(source) => planted(file, &source).err(),
            Err(error) => Some(format!("{file}: {error}")),
        })
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn each_bug_has_a_name_of_its_own_and_is_planted_somewhere() {
    let bugs = bugs();
    let names: BTreeSet<_> = bugs.iter().collect();
    assert_eq!(names.len(), bugs.len(), "the rows of a bug stand together");
    for bug in &bugs {
        let mut rows = ROWS.iter().filter(|row| row.bug == *bug);
        let is_planted = rows.any(|row| row.replacement.contains(PLACEHOLDER));
        assert!(is_planted, "{bug}");
    }
    for bug in FOUND_BY_CORPUS {
        assert!(names.contains(bug), "{bug}");
    }
}

#[test]
fn white_space_does_not_count_and_a_text_that_is_there_twice_is_refused() {
    let row = |text| Row { text, ..ROWS[0] };
    assert_eq!(row("a  .b( )").find("x = a\n    .b();"), Ok(4..14));
    assert!(row("a").find("b").unwrap_err().contains("not found"));
    assert!(row("a").find("aba").unwrap_err().contains("more than once"));
}
