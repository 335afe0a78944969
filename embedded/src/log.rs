//! Logging with `defmt`, or none.

/// `log!(LEVEL, FORMAT, VALUES...)`, with the format strings of
/// [`defmt`](https://defmt.ferrous-systems.com).
macro_rules! log {
    ($level:ident, $format:literal $(, $value:expr)* $(,)?) => {{
        #[cfg(feature = "defmt")]
        defmt::$level!($format $(, $value)*);
        #[cfg(not(feature = "defmt"))]
        let _ = ($(&$value,)*);
    }};
}

pub(crate) use log;
