//! Reads a TOML table key by key and gathers everything that is wrong with it.
//!
//! A deserializer stops at the first error and names a type where a person needs a remedy. The idea: each key is asked
//! for once, with what it must be; what was asked for is what is known, so a key that nobody asked for is unknown and
//! gets the nearest known one. This module knows nothing of what the keys mean.

use super::{Problem, Problems};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use toml::{Table, Value};

/// Reads and parses a file.
pub(super) fn read(path: &Path) -> Result<Table, Problems> {
    let refuse = |reason: String, remedy: &str| {
        Problems(vec![Problem { key: path.display().to_string(), reason, remedy: remedy.to_owned() }])
    };
    let text = std::fs::read_to_string(path).map_err(|e| {
        refuse(format!("it cannot be read: {e}"), "name a file that exists and that this user may read")
    })?;
    parse(&text).map_err(|reason| refuse(reason, "correct the line; the format is TOML 1.0"))
}

/// Parses the text of a file; the error says where it went wrong.
pub(super) fn parse(text: &str) -> Result<Table, String> {
    text.parse::<Table>().map_err(|e| {
        let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        format!("line {line}: {}", e.message().trim().replace('\n', ", "))
    })
}

/// The problems found so far, shared by the sections of one file.
#[derive(Default)]
pub(super) struct Findings(RefCell<Vec<Problem>>);

impl Findings {
    pub(super) fn add(&self, key: impl Into<String>, reason: impl Into<String>, remedy: impl Into<String>) {
        self.0.borrow_mut().push(Problem { key: key.into(), reason: reason.into(), remedy: remedy.into() });
    }

    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.0.into_inner()
    }

    /// The value when nothing is wrong and it is there. A missing value has a problem of its own already.
    pub(super) fn conclude<T>(self, value: Option<T>) -> Result<T, Problems> {
        match (self.into_vec(), value) {
            (problems, Some(value)) if problems.is_empty() => Ok(value),
            (problems, _) => Err(Problems(problems)),
        }
    }
}

/// What a value should have been, for a problem.
pub(super) struct Wrong {
    pub(super) reason: String,
    pub(super) remedy: String,
}

impl Wrong {
    pub(super) fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Wrong {
        Wrong { reason: reason.into(), remedy: remedy.into() }
    }
}

/// One table of the file.
pub(super) struct Section<'a> {
    path: String,
    table: &'a Table,
    findings: &'a Findings,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    pub(super) fn new(path: impl Into<String>, table: &'a Table, findings: &'a Findings) -> Section<'a> {
        Section { path: path.into(), table, findings, asked: RefCell::default() }
    }

    /// The dotted path of a key in this section.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Names the section by what it turned out to describe.
    pub(super) fn rename(&mut self, path: String) {
        self.path = path;
    }

    pub(super) fn findings(&self) -> &'a Findings {
        self.findings
    }

    pub(super) fn wrong(&self, key: &str, wrong: Wrong) {
        self.findings.add(self.key(key), wrong.reason, wrong.remedy);
    }

    /// The names in a table whose keys are chosen by the operator.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.table.keys().map(String::as_str)
    }

    /// A key that may be absent.
    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.asked.borrow_mut().insert(key);
        match parse(self.table.get(key)?) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.wrong(key, wrong);
                None
            }
        }
    }

    /// A key that must be there; `example` is a line that would do.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&Value) -> Result<T, Wrong>,
    ) -> Option<T> {
        if self.table.contains_key(key) {
            return self.optional(key, parse);
        }
        self.asked.borrow_mut().insert(key);
        self.wrong(key, Wrong::new("it is missing", format!("add a line such as {example}")));
        None
    }

    /// A key of a part that this version does not have.
    pub(super) fn absent(&self, key: &'static str, part: &str) {
        self.asked.borrow_mut().insert(key);
        if self.table.contains_key(key) {
            self.wrong(key, Wrong::new(format!("this version has no {part}"), "remove the key"));
        }
    }

    /// A table of its own.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'a>> {
        self.asked.borrow_mut().insert(key);
        self.child(key)
    }

    /// A table whose key was chosen by the operator.
    pub(super) fn child(&self, key: &str) -> Option<Section<'a>> {
        match self.table.get(key)? {
            Value::Table(table) => Some(Section::new(self.key(key), table, self.findings)),
            other => {
                let header = format!("write it as a table: [{}]", self.key(key));
                self.wrong(key, Wrong::new(format!("it is {}, not a table", kind(other)), header));
                None
            }
        }
    }

    /// Tables written as `[[key]]`.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        self.asked.borrow_mut().insert(key);
        let header = || format!("write each as a table of its own: [[{}]]", bare(&self.key(key)));
        let items = match self.table.get(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.wrong(key, Wrong::new(format!("it is {}, not a list of tables", kind(other)), header()));
                return Vec::new();
            }
        };
        let mut sections = Vec::new();
        for (n, item) in items.iter().enumerate() {
            let path = format!("{}[{n}]", self.key(key));
            match item {
                Value::Table(table) => sections.push(Section::new(path, table, self.findings)),
                other => self.findings.add(path, format!("it is {}, not a table", kind(other)), header()),
            }
        }
        sections
    }

    /// Whether a list is missing or empty.
    pub(super) fn lists_none(&self, key: &str) -> bool {
        self.table.get(key).is_none_or(|value| value.as_array().is_some_and(Vec::is_empty))
    }

    /// Refuses every key that nobody asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for key in self.table.keys().filter(|key| !asked.contains(key.as_str())) {
            let nearest = asked.iter().max_by(|a, b| likeness(key, a).total_cmp(&likeness(key, b)));
            let remedy = if let Some(known) = nearest.filter(|known| likeness(key, known) >= 0.7) {
                format!("did you mean {known}?")
            } else {
                let known: Vec<&str> = asked.iter().copied().collect();
                format!("remove it; known here: {}", known.join(", "))
            };
            self.wrong(key, Wrong::new("there is no such key", remedy));
        }
    }
}

fn likeness(given: &str, known: &str) -> f64 {
    strsim::jaro_winkler(&given.to_lowercase(), known)
}

/// `redis[0].member` names a place, `redis.member` is what stands between the brackets.
fn bare(path: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out
}

/// What a value is, with its article.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// A string; `example` is one that would do.
pub(super) fn string<'v>(value: &'v Value, what: &str, example: &str) -> Result<&'v str, Wrong> {
    let text = value.as_str();
    text.ok_or_else(|| {
        Wrong::new(format!("it is {}, not {what}", kind(value)), format!("write it in quotes: {example}"))
    })
}

/// A string that parses.
pub(super) fn parsed<T: std::str::FromStr>(value: &Value, what: &str, example: &str) -> Result<T, Wrong>
where
    T::Err: std::fmt::Display,
{
    let text = string(value, what, example)?;
    text.parse::<T>().map_err(|e| {
        // The errors of core's types carry their remedy behind the last semicolon or comma of the sentence.
        let message = e.to_string();
        match message.split_once("; ") {
            Some((reason, remedy)) => Wrong::new(reason, remedy),
            None => Wrong::new(message, format!("write {what} such as {example}")),
        }
    })
}

/// A whole number in a range.
pub(super) fn integer(value: &Value, min: u64, max: u64) -> Result<u64, Wrong> {
    let remedy = || format!("write a whole number from {min} to {max}, without quotes");
    let number = value
        .as_integer()
        .ok_or_else(|| Wrong::new(format!("it is {}, not a whole number", kind(value)), remedy()))?;
    let fits = u64::try_from(number).ok().filter(|n| (min..=max).contains(n));
    fits.ok_or_else(|| Wrong::new(format!("{number} is out of range"), remedy()))
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value) -> Result<bool, Wrong> {
    let wrong = || {
        Wrong::new(format!("it is {}, not true or false", kind(value)), "write true or false, without quotes")
    };
    value.as_bool().ok_or_else(wrong)
}

/// One of a few words.
pub(super) fn word<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, Wrong> {
    let listed: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    let text = string(value, "a word", &listed.join(" or "))?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
    found
        .ok_or_else(|| Wrong::new(format!("{text:?} is not known"), format!("write {}", listed.join(" or "))))
}

const DURATION_MAX: Duration = Duration::from_hours(24);

/// A duration with its unit, above zero and at most a day.
pub(super) fn duration(value: &Value, example: &str) -> Result<Duration, Wrong> {
    let text = string(value, "a duration", example)?;
    duration_of(text.trim(), example)
}

pub(super) fn duration_of(text: &str, example: &str) -> Result<Duration, Wrong> {
    let remedy = || format!("write a number with its unit, such as {example}");
    let parsed = humantime::parse_duration(text)
        .map_err(|e| Wrong::new(format!("{text:?} is not a duration: {e}"), remedy()))?;
    if parsed.is_zero() {
        return Err(Wrong::new("it is zero", remedy()));
    }
    if parsed > DURATION_MAX {
        return Err(Wrong::new(format!("{text} is longer than a day"), remedy()));
    }
    Ok(parsed)
}
