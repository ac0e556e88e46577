//! Single entries from the disk, for followers that lag behind what is kept in memory.

use super::guarded;
use crate::disk::DiskReader;
use crate::record::{Fault, Key, Linked, decode_entry, unframe};
use crate::{Entry, StorageError};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The tree, beside its writer.
pub(crate) struct Source {
    pub(crate) tree: sled::Tree,
    /// The file behind the tree.
    pub(crate) path: PathBuf,
}

impl DiskReader for Source {
    fn fetch(&self, range: Range<u64>) -> Result<Vec<Entry>, StorageError> {
        fetch(&self.tree, &self.path, range)
    }
}

/// The entries of `range` up to the first that is missing.
fn fetch(tree: &sled::Tree, path: &Path, range: Range<u64>) -> Result<Vec<Entry>, StorageError> {
    let mut entries = Vec::with_capacity((range.end - range.start) as usize);
    let (mut next, mut body) = (range.start, None);
    let mut records = tree.range(Key::Entry(range.start).bytes()..Key::Entry(range.end).bytes());
    while let Some((key, value)) = guarded(path, "read", || records.next().transpose())? {
        let name = Key::parse(&key);
        match (name, &mut body) {
            (Some(name @ Key::Entry(index)), _) => {
                finish(&mut entries, next, body.take()).map_err(|fault| fault.at(path))?;
                if index != range.start + entries.len() as u64 {
                    return Ok(entries);
                }
                next = index;
                body = Some(Vec::from(unframe(name, &key, &value).map_err(|fault| fault.at(path))?));
            }
            (Some(name @ Key::Part(index, _)), Some(body)) if index == next => {
                body.extend_from_slice(&unframe(name, &key, &value).map_err(|fault| fault.at(path))?);
            }
            _ => return Err(Fault::new(format!("{key:02x?}"), "it is out of place").at(path)),
        }
    }
    finish(&mut entries, next, body).map_err(|fault| fault.at(path))?;
    Ok(entries)
}

/// The entry whose parts were gathered, if any was begun.
fn finish(entries: &mut Vec<Entry>, index: u64, body: Option<Vec<u8>>) -> Result<(), Fault> {
    if let Some(body) = body {
        let Linked { entry, .. } = decode_entry(index, body.into())?;
        entries.push(entry);
    }
    Ok(())
}
