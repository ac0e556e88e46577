//! Replies as values: what is an error, a text, a number. A server that answers in another shape than expected is
//! told apart from one that refuses.

use redis::Value;

/// A server's refusal: `-CODE text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Such as `NOREPLICAS`.
    pub(crate) code: String,
    /// The whole line, code included.
    pub(crate) line: String,
}

/// The refusal that a reply is, if it is one.
pub(crate) fn refusal(value: &Value) -> Option<Refusal> {
    let Value::ServerError(error) = value else { return None };
    let code = error.code().to_owned();
    let line = match error.details() {
        Some(details) => format!("{code} {details}"),
        None => code.clone(),
    };
    Some(Refusal { code, line })
}

/// The text of a reply, if it is one.
pub(crate) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        Value::Okay => Some("OK"),
        _ => None,
    }
}

/// The offset in the answer of a primary to `ROLE`.
pub(crate) fn primary_offset(value: &Value) -> Option<u64> {
    match value {
        Value::Array(items) if items.first().and_then(text) == Some("master") => match items.get(1)? {
            Value::Int(offset) => u64::try_from(*offset).ok(),
            _ => None,
        },
        _ => None,
    }
}

/// The value in an answer to `CONFIG GET` of one setting: a flat list, or a map on newer protocols.
pub(crate) fn setting(value: &Value) -> Option<&str> {
    match value {
        Value::Array(items) => items.get(1).and_then(text),
        Value::Map(pairs) => pairs.first().and_then(|(_, v)| text(v)),
        _ => None,
    }
}

/// The value of one setting in an answer to `CONFIG GET` of several.
pub(crate) fn setting_named<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    match value {
        Value::Array(items) => {
            let pair = items.chunks_exact(2).find(|pair| pair.first().and_then(text) == Some(name))?;
            pair.get(1).and_then(text)
        }
        Value::Map(pairs) => pairs.iter().find(|(key, _)| text(key) == Some(name)).and_then(|(_, v)| text(v)),
        _ => None,
    }
}

/// [`setting`] as a number.
pub(crate) fn setting_number(value: &Value) -> Option<u64> {
    setting(value)?.trim().parse().ok()
}

/// How many listen to the channel that `PUBSUB NUMSUB` was asked for.
pub(crate) fn listeners(value: &Value) -> Option<u64> {
    match value {
        Value::Array(pair) => match pair.as_slice() {
            [_, Value::Int(count)] => u64::try_from(*count).ok(),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(wire: &str) -> Value {
        redis::parse_redis_value(wire.as_bytes()).unwrap()
    }

    #[test]
    fn refusals_keep_their_code_and_their_words() {
        let wire = "-NOREPLICAS Not enough good replicas to write.\r\n";
        let refused = refusal(&parse(wire)).unwrap();
        assert_eq!(refused.code, "NOREPLICAS");
        assert_eq!(refused.line, "NOREPLICAS Not enough good replicas to write.");
        assert_eq!(refusal(&parse("-READONLY no\r\n")).unwrap().line, "READONLY no");
        assert_eq!(refusal(&parse("+OK\r\n")), None);
    }

    #[test]
    fn a_primary_says_where_its_stream_is() {
        assert_eq!(primary_offset(&parse("*3\r\n$6\r\nmaster\r\n:77\r\n*0\r\n")), Some(77));
        assert_eq!(primary_offset(&parse("*2\r\n$5\r\nslave\r\n:77\r\n")), None);
    }

    #[test]
    fn settings_come_as_list_or_map() {
        let list = "*2\r\n$21\r\nmin-replicas-to-write\r\n$1\r\n7\r\n";
        assert_eq!(setting_number(&parse(list)), Some(7));
        let map = "%1\r\n$21\r\nmin-replicas-to-write\r\n$1\r\n7\r\n";
        assert_eq!(setting_number(&parse(map)), Some(7));
        assert_eq!(setting(&parse("*0\r\n")), None);
    }
}
