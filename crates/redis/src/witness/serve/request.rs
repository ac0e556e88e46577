//! What a replica sends before the stream: short commands, as arrays or as lines.

use bytes::{Buf, BytesMut};

/// A command with its arguments is not longer.
pub(super) const BYTES_MAX: usize = 4 * 1024;
const WORDS_MAX: usize = 16;

/// No command, or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Garbage;

/// Takes the first command off `buffer`; none while it is incomplete. An empty line has no words.
pub(super) fn take(buffer: &mut BytesMut) -> Result<Option<Vec<String>>, Garbage> {
    let mut cursor = Cursor { bytes: buffer, at: 0 };
    let taken = match cursor.bytes.first() {
        None => return Ok(None),
        Some(b'*') => cursor.array()?,
        Some(_) => cursor.line().map(|line| line.split_whitespace().map(str::to_owned).collect()),
    };
    match taken {
        Some(words) => {
            let used = cursor.at;
            buffer.advance(used);
            Ok(Some(words))
        }
        None if buffer.len() > BYTES_MAX => Err(Garbage),
        None => Ok(None),
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn array(&mut self) -> Result<Option<Vec<String>>, Garbage> {
        let Some(count) = self.count(b'*', WORDS_MAX)? else { return Ok(None) };
        let mut words = Vec::with_capacity(count);
        for _ in 0..count {
            let Some(len) = self.count(b'$', BYTES_MAX)? else { return Ok(None) };
            let Some(word) = self.bytes.get(self.at..self.at + len + 2) else { return Ok(None) };
            words.push(String::from_utf8_lossy(&word[..len]).into_owned());
            self.at += len + 2;
        }
        Ok(Some(words))
    }

    fn count(&mut self, sign: u8, max: usize) -> Result<Option<usize>, Garbage> {
        let Some(line) = self.line() else { return Ok(None) };
        let number = line.strip_prefix(sign as char).and_then(|n| n.trim().parse().ok());
        number.filter(|n| *n <= max).map(Some).ok_or(Garbage)
    }

    fn line(&mut self) -> Option<String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|b| *b == b'\n')?;
        self.at += end + 1;
        Some(String::from_utf8_lossy(&rest[..end]).trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    type Taken = Result<Option<Vec<String>>, Garbage>;

    fn all(text: &[u8]) -> (Vec<Vec<String>>, Taken) {
        let mut buffer = BytesMut::from(text);
        let mut commands = Vec::new();
        loop {
            match take(&mut buffer) {
                Ok(Some(words)) => commands.push(words),
                end => return (commands, end),
            }
        }
    }

    #[test]
    fn arrays_and_lines_are_commands() {
        let (commands, end) = all(b"*1\r\n$4\r\nPING\r\n\nPSYNC a 7\r\n*2\r\n$8\r\nREPLCONF\r\n$3\r\nA");
        assert_eq!(commands, [vec!["PING"], vec![], vec!["PSYNC", "a", "7"]]);
        assert_eq!(end, Ok(None));
    }

    proptest! {
        /// Whatever comes, in whatever pieces: it ends, it never takes more than there is, and what it takes from one
        /// piece it takes from many.
        #[test]
        fn any_bytes_are_commands_or_garbage_however_they_are_cut(
            bytes in prop_oneof![
                vec(any::<u8>(), 0..600),
                "(\\*[0-9-]{0,3}\r\n|\\$[0-9]{0,6}\r\n|[A-Z ]{0,9}\r?\n|PING|\r\n){0,40}".prop_map(String::into_bytes),
            ],
            piece in 1_usize..50,
        ) {
            let whole = all(&bytes);
            let mut buffer = BytesMut::new();
            let mut commands = Vec::new();
            let mut end = Ok(None);
            for piece in bytes.chunks(piece) {
                buffer.extend_from_slice(piece);
                end = loop {
                    match take(&mut buffer) {
                        Ok(Some(words)) => commands.push(words),
                        end => break end,
                    }
                };
                if end.is_err() {
                    break;
                }
            }
            prop_assert!(commands.iter().all(|words| words.len() <= bytes.len()));
            prop_assert_eq!((commands, end), whole);
        }
    }

    #[test]
    fn what_is_no_command_or_has_no_end_is_garbage() {
        assert_eq!(all(b"*99\r\n").1, Err(Garbage));
        assert_eq!(all(b"*-1\r\n").1, Err(Garbage));
        assert_eq!(all(b"*1\r\n$99999999999\r\n").1, Err(Garbage));
        assert_eq!(all(b"*1\r\n+OK\r\n").1, Err(Garbage));
        assert_eq!(all(&[b'x'; BYTES_MAX + 1]).1, Err(Garbage));
    }
}
