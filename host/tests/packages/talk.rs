//! Clients in frames, of the last release and of this one, who talk all the time.

use core::time::Duration;
use std::time::Instant;

use jiff::Timestamp;
use kilochat_tests::ChatProgram;
use serde_json::Value;

use crate::PATIENCE;

/// Two who speak and two who read, one of each version.
pub(crate) struct Talk {
    writers: [(&'static str, ChatProgram); 2],
    pub(crate) readers: [ChatProgram; 2],
    /// How many lines each writer has said.
    said: usize,
}

impl Talk {
    pub(crate) fn begin(old: &str, new: &str) -> Self {
        let join = |program, name| {
            let arguments = ["127.0.0.1", "--name", name, "--stay", "--json"];
            let mut chat = ChatProgram::start(program, &arguments);
            chat.wait_for(|line| line.contains("welcome"));
            chat
        };
        Self {
            writers: [("Ada", join(old, "Ada")), ("Cleo", join(new, "Cleo"))],
            readers: [join(old, "Bob"), join(new, "Dora")],
            said: 0,
        }
    }

    /// Says 20 lines a second for this time.
    pub(crate) fn go_on(&mut self, time: Duration) {
        let begun = Instant::now();
        loop {
            for (_, chat) in &mut self.writers {
                chat.write(format!("line {}\n", self.said));
                std::thread::sleep(Duration::from_millis(50));
            }
            self.said += 1;
            if begun.elapsed() >= time {
                return;
            }
        }
    }

    /// Fails unless each reader has each line of each writer once and in order.
    pub(crate) fn check(&mut self) {
        for (name, chat) in &mut self.writers {
            chat.write(format!("the end of {name}\n"));
        }
        let expected: Vec<String> = (0..self.said)
            .map(|number| format!("line {number}"))
            .collect();
        for reader in &mut self.readers {
            for name in ["Ada", "Cleo"] {
                let end = format!("the end of {name}");
                if !reader.lines.iter().any(|line| line.contains(&end)) {
                    reader.wait_within(PATIENCE, |line| line.contains(&end));
                }
                let said = reader.lines.iter().filter_map(|line| text_of(line, name));
                let said: Vec<String> = said.filter(|text| *text != end).collect();
                assert_eq!(said, expected, "of {name}");
            }
            let gap = reader
                .lines
                .iter()
                .find(|line| line.contains("\"kind\":\"gap\""));
            assert_eq!(gap, None);
        }
    }

    /// Returns the longest time between two lines of the writer of the last release at the reader of
    /// the last release, and that between those of this one.
    pub(crate) fn silences(&self) -> [Duration; 2] {
        let [bob, dora] = &self.readers;
        [
            longest_silence(&bob.lines, "Ada"),
            longest_silence(&dora.lines, "Cleo"),
        ]
    }
}

/// Returns the text of a line, a JSON object, if this person says it, now or in what newcomers see.
pub(crate) fn text_of(line: &str, name: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let is_said = line["kind"] == "message" || line["kind"] == "history";
    (is_said && line["name"] == name).then(|| line["text"].as_str().unwrap_or_default().to_owned())
}

fn longest_silence(lines: &[String], name: &str) -> Duration {
    let times: Vec<Timestamp> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["kind"] == "message" && line["name"] == name)
        .map(|line| line["time"].as_str().unwrap().parse().unwrap())
        .collect();
    let pairs = times.windows(2).map(|pair| pair[1].duration_since(pair[0]));
    pairs.max().unwrap_or_default().unsigned_abs()
}
