//! Reads the whole log and believes none of it: each record by its CRC, the entries by their chain, the ends by the
//! state record.

use super::{Link, data_file, guarded, tree};
use crate::record::{Fault, Key, Linked, SCHEMA_VERSION, State, decode_entry, decode_state, unframe};
use crate::{Entry, LogId, StorageError};
use std::collections::VecDeque;
use std::path::Path;

/// A log that was found whole.
pub(crate) struct Loaded {
    pub(crate) state: State,
    /// The index of the first entry; meaningless when there is none.
    pub(crate) first: u64,
    pub(crate) links: VecDeque<Link>,
    /// The last entries, for the cache.
    pub(crate) tail: VecDeque<Entry>,
    /// Keys beyond the end: of a batch that was never complete, so never acknowledged.
    pub(crate) leftovers: Vec<Vec<u8>>,
}

/// Reads the log in `db`, which was opened in `dir`. Of the entries, the last `tail_max` are kept.
pub(crate) fn load(dir: &Path, db: &sled::Db, tail_max: usize) -> Result<Loaded, StorageError> {
    let path = data_file(dir);
    let tree = tree(db, &path)?;
    let get = |key: Key| {
        let value = guarded(&path, "read", || tree.get(key.bytes()))?;
        let value = value.ok_or_else(|| Fault::new(key, "it is missing"));
        value.and_then(|value| unframe(key, &key.bytes(), &value)).map_err(|fault| fault.at(&path))
    };
    let found = schema(&get(Key::Schema)?).map_err(|fault| fault.at(&path))?;
    if found != SCHEMA_VERSION {
        return Err(StorageError::Schema { path, found, expected: SCHEMA_VERSION });
    }
    let state = decode_state(get(Key::State)?).map_err(|fault| fault.at(&path))?;
    let mut walk = Walk::new(state, tail_max);
    let mut records = tree.iter();
    while let Some((key, value)) = guarded(&path, "read", || records.next().transpose())? {
        walk.record(&key, &value).map_err(|fault| fault.at(&path))?;
    }
    walk.finish().map_err(|fault| fault.at(&path))
}

fn schema(body: &[u8]) -> Result<u32, Fault> {
    let bytes = body.try_into().map_err(|_| Fault::new(Key::Schema, "it is no number"))?;
    Ok(u32::from_le_bytes(bytes))
}

/// What was seen on the way through the keys, against what the state record says.
struct Walk {
    state: State,
    tail_max: usize,
    first: Option<u64>,
    links: VecDeque<Link>,
    tail: VecDeque<Entry>,
    leftovers: Vec<Vec<u8>>,
    /// What the first entry names as its predecessor's link.
    entered_by: u32,
    last_link: u32,
    /// The entry whose parts are being gathered.
    open: Option<Open>,
}

struct Open {
    index: u64,
    body: Vec<u8>,
    parts: u16,
}

impl Walk {
    fn new(state: State, tail_max: usize) -> Self {
        Self {
            state,
            tail_max,
            first: None,
            links: VecDeque::new(),
            tail: VecDeque::new(),
            leftovers: Vec::new(),
            entered_by: 0,
            last_link: 0,
            open: None,
        }
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let Some(name) = Key::parse(key) else {
            return Err(Fault::new(format!("{key:02x?}"), "no record of this version has such a key"));
        };
        match name {
            Key::Entry(index) | Key::Part(index, _)
                if self.state.last.is_none_or(|last| last.index < index) =>
            {
                self.leftovers.push(key.to_vec());
            }
            Key::Entry(index) => {
                self.close()?;
                self.open = Some(Open { index, body: unframe(name, key, value)?.into(), parts: 0 });
            }
            Key::Part(index, part) => match &mut self.open {
                Some(open) if open.index == index && open.parts + 1 == part => {
                    open.body.extend_from_slice(&unframe(name, key, value)?);
                    open.parts = part;
                }
                _ => return Err(Fault::new(name, "the part before it is missing")),
            },
            Key::Schema | Key::State => {}
        }
        Ok(())
    }

    /// The entry under way has all its parts.
    fn close(&mut self) -> Result<(), Fault> {
        let Some(Open { index, body, parts }) = self.open.take() else {
            return Ok(());
        };
        let name = Key::Entry(index);
        let Linked { entry, previous_link, checksum } = decode_entry(index, body.into())?;
        match self.first {
            None => (self.first, self.entered_by) = (Some(index), previous_link),
            Some(first) if first + self.links.len() as u64 != index => {
                let missing = Key::Entry(first + self.links.len() as u64);
                return Err(Fault::new(missing, "it is missing"));
            }
            Some(_) if previous_link != self.last_link => return Err(broken_chain(name)),
            Some(_) => {}
        }
        self.last_link = checksum;
        self.links.push_back(Link { term: entry.log_id.leader_id.term, checksum, parts });
        if self.tail.len() >= self.tail_max {
            self.tail.pop_front();
        }
        self.tail.push_back(entry);
        Ok(())
    }

    /// Compares what was found with what must be there.
    fn finish(mut self) -> Result<Loaded, Fault> {
        self.close()?;
        let state = self.state;
        let found_last = self.tail.back().map(|entry| entry.log_id).or(state.purged);
        if found_last != state.last {
            let shown = |id: Option<LogId>| id.map_or("nothing".to_owned(), |id| id.to_string());
            let reason =
                format!("the log ends at {}, but must end at {}", shown(found_last), shown(state.last));
            return Err(Fault::new(Key::State, reason));
        }
        if let Some(first) = self.first {
            let expected = state.purged.map_or(first, |purged| purged.index + 1);
            if first != expected {
                return Err(Fault::new(Key::Entry(expected), "it is missing"));
            }
            if self.entered_by != state.purged_link {
                return Err(broken_chain(Key::Entry(first)));
            }
            if self.last_link != state.last_link {
                return Err(Fault::new(Key::State, "the last entry is not the one that it was written with"));
            }
        }
        let first = self.first.unwrap_or(0);
        Ok(Loaded { state, first, links: self.links, tail: self.tail, leftovers: self.leftovers })
    }
}

fn broken_chain(name: Key) -> Fault {
    Fault::new(name, "it does not follow the entry before it: one of the two is outdated")
}
