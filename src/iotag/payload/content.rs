//! What a payload is, said by its MQTT 5.0 Content Type, and its unpacking. Contract, section 7.

use std::borrow::Cow;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;

use crate::iotag::PayloadType;

/// Largest unpacked payload, in bytes.
pub(in crate::iotag) const UNPACKED_BYTES_MAX: usize = 64 << 20;

/// How a payload under `auto` is read; `None`: it is nothing that tags read from.
pub(in crate::iotag) fn payload_type(content_type: Option<&str>) -> Option<PayloadType> {
    let Some(media_type) = content_type.map(media_type) else { return Some(PayloadType::Json) };
    match media_type.as_str() {
        // The packing says nothing of what is inside.
        "" | "application/gzip" | "application/json" | "text/json" => Some(PayloadType::Json),
        "text/plain" => Some(PayloadType::Text),
        "application/octet-stream" => Some(PayloadType::Bytes),
        "application/xml" | "text/xml" => Some(PayloadType::Xml),
        "text/csv" => Some(PayloadType::Csv),
        other if other.ends_with("+json") => Some(PayloadType::Json),
        other if other.ends_with("+xml") => Some(PayloadType::Xml),
        _ => None,
    }
}

/// The payload unpacked, if its Content Type says that it is packed.
pub(in crate::iotag) fn unpacked<'a>(
    payload: &'a [u8],
    content_type: Option<&str>,
) -> Result<Cow<'a, [u8]>, String> {
    if content_type.map(media_type).as_deref() != Some("application/gzip") {
        return Ok(Cow::Borrowed(payload));
    }
    let mut unpacked = Vec::new();
    let mut decoder = MultiGzDecoder::new(payload).take(UNPACKED_BYTES_MAX as u64 + 1);
    match decoder.read_to_end(&mut unpacked) {
        Ok(_) if unpacked.len() > UNPACKED_BYTES_MAX => {
            Err(format!("unpacked it is larger than {} MiB", UNPACKED_BYTES_MAX >> 20))
        }
        Ok(_) => Ok(Cow::Owned(unpacked)),
        Err(error) => Err(format!("not gzip: {error}")),
    }
}

/// Lower case, without parameters.
pub(in crate::iotag) fn media_type(content_type: &str) -> String {
    let end = content_type.find(';').unwrap_or(content_type.len());
    content_type[..end].trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iotag::output;

    fn packed(payload: &[u8]) -> Vec<u8> {
        output::packed(payload).unwrap()
    }

    #[test]
    fn content_types_in_any_case_and_with_parameters() {
        for (content_type, expected) in [
            (None, Some(PayloadType::Json)),
            (Some("Application/JSON; charset=utf-8"), Some(PayloadType::Json)),
            (Some("application/senml+json"), Some(PayloadType::Json)),
            (Some("text/plain"), Some(PayloadType::Text)),
            (Some("application/octet-stream"), Some(PayloadType::Bytes)),
            (Some("application/xml "), Some(PayloadType::Xml)),
            (Some("TEXT/CSV;header=present"), Some(PayloadType::Csv)),
            (Some("application/gzip"), Some(PayloadType::Json)),
            (Some("image/png"), None),
        ] {
            assert_eq!(payload_type(content_type), expected, "{content_type:?}");
        }
    }

    #[test]
    fn packed_payloads_are_unpacked_within_a_bound() {
        let gzip = Some("application/gzip");
        assert_eq!(unpacked(&packed(b"abc"), gzip).unwrap(), b"abc".as_slice());
        assert_eq!(unpacked(b"abc", None).unwrap(), b"abc".as_slice());
        assert!(unpacked(b"abc", gzip).unwrap_err().starts_with("not gzip"));
        assert!(unpacked(&packed(b"abc")[..12], gzip).is_err());
        let bomb = packed(&vec![0; UNPACKED_BYTES_MAX + 1]);
        assert!(bomb.len() < 1 << 20);
        assert_eq!(unpacked(&bomb, gzip).unwrap_err(), "unpacked it is larger than 64 MiB");
    }
}
