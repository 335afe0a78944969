//! What both ends agree on: the rules of texts, and the frames.

pub mod framed;
pub(crate) mod text;
