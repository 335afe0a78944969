//! The table of measured and accepted values.

/// A measured value.
struct Row {
    what: &'static str,
    measured: f64,
    unit: &'static str,
    /// The accepted maximum, or `None` if the value is only shown.
    accepted: Option<f64>,
}

/// All rows in the order in which they were measured.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// Adds a value and its accepted maximum.
    pub(crate) fn accept(
        &mut self,
        what: &'static str,
        measured: f64,
        unit: &'static str,
        most: f64,
    ) {
        self.add(what, measured, unit, Some(most));
    }

    /// Adds a value that is only shown.
    pub(crate) fn show(&mut self, what: &'static str, measured: f64, unit: &'static str) {
        self.add(what, measured, unit, None);
    }

    fn add(
        &mut self,
        what: &'static str,
        measured: f64,
        unit: &'static str,
        accepted: Option<f64>,
    ) {
        println!("{what}: {measured:.3} {unit}");
        self.0.push(Row {
            what,
            measured,
            unit,
            accepted,
        });
    }

    pub(crate) fn print(&self) {
        println!("\n| figure | measured | at most | ratio |");
        println!("|---|---|---|---|");
        for row in &self.0 {
            let Row {
                what,
                measured,
                unit,
                ..
            } = row;
            let (limit, ratio) = match row.accepted {
                Some(limit) => (format!("{limit:.2}"), format!("{:.2}", row.ratio())),
                None => (String::new(), String::new()),
            };
            println!("| {what} | {measured:.2} {unit} | {limit} | {ratio} |");
        }
    }

    /// Returns whether no value is over its maximum.
    pub(crate) fn is_accepted(&self) -> bool {
        self.0.iter().all(|row| row.ratio() <= 1.0)
    }
}

impl Row {
    /// Returns the value as a part of its maximum. What must be 0 is 0 or more than 1.
    fn ratio(&self) -> f64 {
        match self.accepted {
            None => 0.0,
            Some(limit) if limit > 0.0 => self.measured / limit,
            Some(_) if self.measured > 0.0 => f64::INFINITY,
            Some(_) => 0.0,
        }
    }
}
