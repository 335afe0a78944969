//! Logging, which is `defmt` or nothing.

/// `log!(LEVEL, FORMAT, VALUES...)`, as [`defmt`](https://defmt.ferrous-systems.com) has it.
macro_rules! log {
    ($level:ident, $format:literal $(, $value:expr)* $(,)?) => {{
        #[cfg(feature = "defmt")]
        defmt::$level!($format $(, $value)*);
        #[cfg(not(feature = "defmt"))]
        let _ = ($(&$value,)*);
    }};
}

pub(crate) use log;
