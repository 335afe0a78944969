//! The rules of the command line and of a file, which can be read again.

use std::fs;
use std::path::PathBuf;

use kilochat_core::{RULES_MAX, Rule, Verdict};

use crate::args::{AdmissionArguments, network};

/// As many rules as fit into the relay.
pub(crate) type Rules = heapless::Vec<Rule, RULES_MAX>;

/// The sources of the rules.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The rules of the command line, which come first: denied, then allowed, then local networks.
    fixed: Vec<Rule>,
    file: Option<PathBuf>,
}

impl Source {
    pub(super) fn new(arguments: &AdmissionArguments) -> Self {
        let AdmissionArguments {
            allow, deny, local, ..
        } = arguments;
        let lists = [
            (Verdict::Deny, deny),
            (Verdict::Allow, allow),
            (Verdict::Local, local),
        ];
        let fixed = lists.into_iter().flat_map(|(verdict, networks)| {
            let rules = networks.iter();
            rules.map(move |&network| Rule { verdict, network })
        });
        Self {
            fixed: fixed.collect(),
            file: arguments.rules.clone(),
        }
    }

    /// Reads all rules.
    ///
    /// # Errors
    ///
    /// The reason, if the file cannot be read or has a mistake, or if there are too many rules.
    pub(super) fn read(&self) -> Result<Rules, String> {
        let mut rules = self.fixed.clone();
        if let Some(file) = &self.file {
            let name = file.display();
            let text = fs::read_to_string(file)
                .map_err(|error| format!("cannot read the rules in {name}: {error}"))?;
            let read = read(&text).map_err(|(line, why)| format!("{name}:{line}: {why}"))?;
            rules.extend(read);
        }
        Rules::from_slice(&rules).map_err(|_| {
            format!(
                "{} rules are too many: at most {RULES_MAX} fit",
                rules.len()
            )
        })
    }
}

/// Parses rules, one a line; `#` begins a comment. Public for fuzzing.
///
/// # Errors
///
/// The number of a line with a mistake, and the reason.
pub fn read(text: &str) -> Result<Vec<Rule>, (usize, String)> {
    let mut rules = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        if !line.trim().is_empty() {
            rules.push(rule(line).map_err(|why| (number, why))?);
        }
    }
    Ok(rules)
}

fn rule(line: &str) -> Result<Rule, String> {
    let mut words = line.split_whitespace();
    let word = words.next().unwrap_or_default();
    let verdict = match word {
        "allow" => Verdict::Allow,
        "deny" => Verdict::Deny,
        "local" => Verdict::Local,
        other => return Err(format!("{other:?} is none of allow, deny, local")),
    };
    let (Some(prefix), None) = (words.next(), words.next()) else {
        return Err(format!("write one network after {word}, like 10.8.0.0/24"));
    };
    let network = network(prefix)?;
    Ok(Rule { verdict, network })
}

#[cfg(test)]
mod tests {
    use super::*;

    // [G10]
    #[test]
    fn rules_are_one_a_line_with_comments() {
        let text =
            "# the lab\ndeny 10.0.0.7/32\n\n  local\t10.8.0.0/24 # VPN\r\nallow 2001:db8::/32";
        let rule = |verdict, prefix| Rule {
            verdict,
            network: network(prefix).unwrap(),
        };
        let expected = [
            rule(Verdict::Deny, "10.0.0.7"),
            rule(Verdict::Local, "10.8.0.0/24"),
            rule(Verdict::Allow, "2001:db8::/32"),
        ];
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(read("").unwrap(), []);
    }

    // [G10]
    #[test]
    fn a_mistake_has_a_line_and_a_reason() {
        for (text, line, why) in [
            (
                "deny 10.0.0.1\n\ndenny 10.0.0.2",
                3,
                "\"denny\" is none of allow, deny, local",
            ),
            ("deny", 1, "write one network after deny, like 10.8.0.0/24"),
            (
                "deny 10.0.0.1 10.0.0.2",
                1,
                "write one network after deny, like 10.8.0.0/24",
            ),
            (
                "local 10.8.0.0/33",
                1,
                "\"10.8.0.0/33\" is no network; write one like 10.8.0.0/24",
            ),
            (
                "allow example.org",
                1,
                "\"example.org\" is no network; write one like 10.8.0.0/24",
            ),
            ("Deny 10.0.0.1", 1, "\"Deny\" is none of allow, deny, local"),
        ] {
            assert_eq!(read(text), Err((line, why.to_owned())), "{text}");
        }
    }

    // [G10]
    #[test]
    fn every_script_of_the_corpus_is_read_and_obeyed() {
        let scripts = kilochat_tests::fuzz::corpus("rules");
        assert!(scripts.len() >= 50, "{}", scripts.len());
        for script in scripts {
            kilochat_tests::fuzz::rules(read, &fs::read(script).unwrap());
        }
    }

    #[test]
    fn a_seventeenth_rule_is_too_many() {
        let source = |rules| Source {
            fixed: vec![rule("deny 10.0.0.1").unwrap(); rules],
            file: None,
        };
        assert_eq!(source(16).read().unwrap().len(), 16);
        let too_many = "17 rules are too many: at most 16 fit";
        assert_eq!(source(17).read().unwrap_err(), too_many);
    }
}
