//! Numbers as people read them.

/// `0 B`, `340 B`, `1.2 KiB`, `88 MiB`: three digits at most.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    // 1023.5 would be shown as 1024.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    // 9.95 would be shown as 10.0.
    let decimals = usize::from(value < 9.95);
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `88,231,904`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `0.4 ms`, `61 ms`, `2.4 s`, `3m`, `2h`, `5d`.
pub(crate) fn millis(ms: f64) -> String {
    let s = ms / 1000.0;
    match ms {
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        _ if s < 9.95 => format!("{s:.1} s"),
        _ if s < 119.5 => format!("{s:.0} s"),
        _ if s < 7_170.0 => format!("{:.0}m", s / 60.0),
        _ if s < 172_000.0 => format!("{:.0}h", s / 3_600.0),
        _ => format!("{:.0}d", s / 86_400.0),
    }
}

/// `just now`, `12s ago`, `3m ago`; both in microseconds since 1970.
pub(crate) fn ago(now_us: u64, at_us: u64) -> String {
    let s = now_us.saturating_sub(at_us) / 1_000_000;
    match s {
        0..1 => "just now".to_owned(),
        1..120 => format!("{s}s ago"),
        120..7_200 => format!("{}m ago", s / 60),
        7_200..172_800 => format!("{}h ago", s / 3_600),
        _ => format!("{}d ago", s / 86_400),
    }
}

/// `1 member`, `2 members`.
pub(crate) fn plural(n: u64, word: &str) -> String {
    if n == 1 { format!("1 {word}") } else { format!("{} {word}s", count(n)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let sizes = [0, 1023, 1024, 10_189, 10_190, 1_048_051, 1_048_577, 92_274_688, u64::MAX];
        assert_eq!(
            sizes.map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "10 KiB", "10 KiB", "1023 KiB", "1.0 MiB", "88 MiB", "16 EiB"]
        );
    }

    #[test]
    fn counts() {
        assert_eq!([0, 999, 1000, 88_231_904].map(count), ["0", "999", "1,000", "88,231,904"]);
        assert_eq!([plural(1, "gate"), plural(0, "gate")], ["1 gate", "0 gates"]);
    }

    #[test]
    fn times() {
        let times = [0.04, 2.94, 61.2, 999.6, 12_000.0, 119_600.0, 7_200_000.0, 400_000_000.0];
        assert_eq!(times.map(millis), ["0.0 ms", "2.9 ms", "61 ms", "1.0 s", "12 s", "2m", "2h", "5d"]);
    }

    #[test]
    fn ages() {
        let ages = [0, 12, 190, 8_000, 500_000].map(|s: u64| ago(s * 1_000_000, 0));
        assert_eq!(ages, ["just now", "12s ago", "3m ago", "2h ago", "5d ago"]);
        assert_eq!(ago(0, 5_000_000), "just now", "clocks differ between hosts");
    }
}
