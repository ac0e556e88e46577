//! What happens meanwhile, on standard error: a run takes minutes.

use std::io::Write;

/// Writes a line to standard error, where nobody may be listening.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "   {text}");
}

/// Says what happens meanwhile.
#[macro_export]
macro_rules! progress {
    ($($words:tt)*) => {
        $crate::progress::line(&format!($($words)*))
    };
}
