//! Numbers on the wire: shortest text that reads back to the same bits, and never NaN, an infinity or null.

use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::ser::Formatter;
use std::io;

/// Writes compact JSON and refuses null, which is also what serde_json makes of a NaN or an infinity.
struct NoNull;

impl Formatter for NoNull {
    fn write_null<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        Err(io::Error::other("a number that is not finite, or a null"))
    }
}

/// Compact JSON of `value` with f32 and f64 in the shortest form that reads back to the same bits. Anything that would be a
/// null is refused: an absent value has no key, and a NaN or an infinity has no form in JSON.
pub fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::with_capacity(128);
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, NoNull))?;
    String::from_utf8(bytes).map_err(serde_json::Error::custom)
}

/// Writes a finite number; refuses any other by its name, where a null would only tell that something is wrong.
pub(crate) fn finite<S: Serializer>(value: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(value)
    } else {
        Err(S::Error::custom(format!("{value} is not finite")))
    }
}
