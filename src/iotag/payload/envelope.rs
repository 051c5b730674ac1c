//! Bytes that travel as text inside a JSON document, as LoRaWAN servers send them.

use std::borrow::Cow;
use std::sync::LazyLock;

use data_encoding::{BitOrder, Encoding, HEXLOWER_PERMISSIVE, Specification};

use super::Datum;
use crate::iotag::station::EnvelopeEncoding;

/// Standard and URL alphabet alike; padding may be there or not.
static BASE64: LazyLock<Option<Encoding>> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    specification.translate.from.push_str("-_");
    specification.translate.to.push_str("+/");
    specification.bit_order = BitOrder::MostSignificantFirst;
    specification.encoding().ok()
});

/// What an envelope holds.
pub(in crate::iotag) enum Enclosed {
    /// There is nothing at its place.
    Missing,
    /// `null` stands there.
    Null,
    Bytes(Vec<u8>),
    /// What is wrong with what stands there.
    Broken(String),
}

/// Decodes what stands at the envelope's place.
pub(in crate::iotag) fn decode(datum: Option<&Datum<'_>>, encoding: EnvelopeEncoding) -> Enclosed {
    let text = match datum {
        None => return Enclosed::Missing,
        Some(Datum::Null) => return Enclosed::Null,
        Some(Datum::Text(text)) => text,
        // A text of digits may have lost its quotes on the way: it still is not what was agreed.
        Some(_) => return Enclosed::Broken("the envelope's payload is no text".to_owned()),
    };
    match bytes(text, encoding) {
        Ok(bytes) => Enclosed::Bytes(bytes),
        Err(why) => Enclosed::Broken(why),
    }
}

/// The bytes of a text.
pub(in crate::iotag) fn bytes(text: &str, encoding: EnvelopeEncoding) -> Result<Vec<u8>, String> {
    let text: Cow<'_, str> = if text.contains(|character: char| character.is_ascii_whitespace()) {
        Cow::Owned(text.split_ascii_whitespace().collect())
    } else {
        Cow::Borrowed(text)
    };
    let decoded = match encoding {
        EnvelopeEncoding::Base64 => match &*BASE64 {
            Some(base64) => {
                let unpadded = text.trim_end_matches('=');
                if text.len() != unpadded.len() && !text.len().is_multiple_of(4) {
                    return Err(wrong(encoding, unpadded.len()));
                }
                base64.decode(unpadded.as_bytes())
            }
            None => return Err(wrong(encoding, 0)),
        },
        EnvelopeEncoding::Hex => HEXLOWER_PERMISSIVE.decode(text.as_bytes()),
    };
    decoded.map_err(|error| wrong(encoding, error.position))
}

fn wrong(encoding: EnvelopeEncoding, position: usize) -> String {
    format!("the envelope's payload is no {} at character {}", encoding.as_str(), position + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base64_of_both_alphabets_with_and_without_padding() {
        let read = |text| bytes(text, EnvelopeEncoding::Base64);
        for text in ["AWcBEAVnAP8=", "AWcBEAVnAP8", "AWcB EAVn\nAP8="] {
            assert_eq!(read(text).unwrap(), [1, 0x67, 1, 0x10, 5, 0x67, 0, 0xFF], "{text}");
        }
        assert_eq!(read("+/+/").unwrap(), read("-_-_").unwrap());
        assert!(read("").unwrap().is_empty());
        for (text, at) in [("AW!B", 3), ("A", 1), ("AWcB=", 5), ("AQ=", 3), ("A=WB", 2)] {
            let error = read(text).unwrap_err();
            assert_eq!(error, format!("the envelope's payload is no base64 at character {at}"));
        }
    }

    #[test]
    fn hex_of_both_cases() {
        let read = |text| bytes(text, EnvelopeEncoding::Hex);
        assert_eq!(read("0a0B").unwrap(), [10, 11]);
        assert!(read("0a0").unwrap_err().contains("no hex at character"));
        assert!(read("0x0a").unwrap_err().contains("at character 2"));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(original in prop::collection::vec(any::<u8>(), 0..60)) {
            let base64 = data_encoding::BASE64.encode(&original);
            prop_assert_eq!(bytes(&base64, EnvelopeEncoding::Base64).unwrap(), original.clone());
            let url = data_encoding::BASE64URL_NOPAD.encode(&original);
            prop_assert_eq!(bytes(&url, EnvelopeEncoding::Base64).unwrap(), original.clone());
            let hex = data_encoding::HEXUPPER.encode(&original);
            prop_assert_eq!(bytes(&hex, EnvelopeEncoding::Hex).unwrap(), original);
        }
    }
}
