//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as a method of enhanced authentication.
//!
//! The password never leaves: the server gets a proof, and must prove in turn that it knows what was
//! derived from it. Without channel binding. User names and passwords are taken as they are written:
//! SASLprep, which only matters beyond ASCII, is the user's.

use std::fmt;
use std::num::NonZeroU32;

use data_encoding::BASE64;
use ring::{digest, hmac, pbkdf2};

use super::authenticator::Authenticator;

/// Authentication Method.
pub const METHOD: &str = "SCRAM-SHA-256";

/// Fewer iterations than RFC 7677 demands would help whoever listens to guess the password.
const ITERATIONS_MIN: u32 = 4096;
/// More would hold up the line for seconds.
const ITERATIONS_MAX: u32 = 1_000_000;

/// The client's side of one exchange.
pub struct ScramSha256 {
    user_name: String,
    password: Vec<u8>,
    nonce: String,
    stage: Stage,
}

enum Stage {
    Start,
    /// The first message is sent.
    First {
        bare: String,
    },
    /// The proof is sent; the server owes its signature of the whole exchange.
    Final {
        server_key: hmac::Key,
        message: String,
    },
    /// The server has proved itself.
    Verified,
}

impl fmt::Debug for ScramSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramSha256")
    }
}

impl ScramSha256 {
    /// An exchange with a nonce that is used once: printable ASCII without commas.
    pub fn new(user_name: String, password: Vec<u8>, nonce: String) -> Self {
        Self { user_name, password, nonce, stage: Stage::Start }
    }

    fn answer(&self, bare: &str, server_first: &str) -> Result<(String, Stage), String> {
        let (nonce, salt, iterations) = parse_first(server_first)?;
        // RFC 5802 section 5.1: the server's nonce continues ours.
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the server's nonce does not continue ours".to_owned());
        }
        let mut salted = [0; digest::SHA256_OUTPUT_LEN];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, iterations, &salt, &self.password, &mut salted);
        let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let server_key = hmac::sign(&salted, b"Server Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());

        let without_proof = format!("c={},r={nonce}", BASE64.encode(HEADER.as_bytes()));
        let message = format!("{bare},{server_first},{without_proof}");
        let stored_key = hmac::Key::new(hmac::HMAC_SHA256, stored_key.as_ref());
        let client_signature = hmac::sign(&stored_key, message.as_bytes());
        let pairs = client_key.as_ref().iter().zip(client_signature.as_ref());
        let proof: Vec<u8> = pairs.map(|(key, signature)| key ^ signature).collect();
        let answer = format!("{without_proof},p={}", BASE64.encode(&proof));
        let server_key = hmac::Key::new(hmac::HMAC_SHA256, server_key.as_ref());
        Ok((answer, Stage::Final { server_key, message }))
    }
}

/// No channel binding, no other identity.
const HEADER: &str = "n,,";

impl Authenticator for ScramSha256 {
    fn method(&self) -> &str {
        METHOD
    }

    fn start(&mut self) -> Result<Vec<u8>, String> {
        let user_name = self.user_name.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user_name},r={}", self.nonce);
        let message = format!("{HEADER}{bare}").into_bytes();
        self.stage = Stage::First { bare };
        Ok(message)
    }

    fn proceed(&mut self, data: &[u8]) -> Result<Vec<u8>, String> {
        let text = as_text(data)?;
        match &self.stage {
            Stage::First { bare } => {
                let (answer, stage) = self.answer(bare, text)?;
                self.stage = stage;
                Ok(answer.into_bytes())
            }
            // Some servers send their last message as a step of its own.
            Stage::Final { .. } => {
                self.finish(data)?;
                Ok(Vec::new())
            }
            Stage::Start | Stage::Verified => Err("the server asks for another step".to_owned()),
        }
    }

    fn finish(&mut self, data: &[u8]) -> Result<(), String> {
        let (server_key, message) = match &self.stage {
            Stage::Final { server_key, message } => (server_key, message),
            Stage::Verified if data.is_empty() => return Ok(()),
            _ => return Err("the server ended the exchange too early".to_owned()),
        };
        let mut attributes = as_text(data)?.split(',');
        let first = attributes.next().unwrap_or_default();
        if let Some(error) = first.strip_prefix("e=") {
            return Err(format!("the server says `{}`", error.escape_debug()));
        }
        let proof = first.strip_prefix("v=").and_then(|text| BASE64.decode(text.as_bytes()).ok());
        let proved =
            proof.is_some_and(|proof| hmac::verify(server_key, message.as_bytes(), &proof).is_ok());
        if !proved {
            return Err("the server could not prove that it knows the password".to_owned());
        }
        self.stage = Stage::Verified;
        Ok(())
    }
}

/// Nonce, salt and iterations of the server's first message, in this order.
fn parse_first(text: &str) -> Result<(&str, Vec<u8>, NonZeroU32), String> {
    let malformed = || "the server's first message is malformed".to_owned();
    let mut attributes = text.split(',');
    let mut next = |name: &str| attributes.next()?.strip_prefix(name);
    let nonce = next("r=").ok_or_else(malformed)?;
    let salt = next("s=").and_then(|salt| BASE64.decode(salt.as_bytes()).ok());
    let salt = salt.filter(|salt| !salt.is_empty()).ok_or_else(malformed)?;
    let iterations: u32 = next("i=").and_then(|text| text.parse().ok()).ok_or_else(malformed)?;
    match NonZeroU32::new(iterations) {
        Some(count) if (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) => {
            Ok((nonce, salt, count))
        }
        _ => Err(format!(
            "the server wants {iterations} iterations, {ITERATIONS_MIN} to {ITERATIONS_MAX} are taken"
        )),
    }
}

fn as_text(data: &[u8]) -> Result<&str, String> {
    str::from_utf8(data).map_err(|_| "the server's message is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // The example of RFC 7677 section 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn client() -> ScramSha256 {
        ScramSha256::new("user".to_owned(), b"pencil".to_vec(), NONCE.to_owned())
    }

    fn started() -> ScramSha256 {
        let mut client = client();
        client.start().unwrap();
        client
    }

    #[test]
    fn the_example_of_the_rfc() {
        let mut client = client();
        assert_eq!(client.start(), Ok(CLIENT_FIRST.as_bytes().to_vec()));
        assert_eq!(client.proceed(SERVER_FIRST.as_bytes()), Ok(CLIENT_FINAL.as_bytes().to_vec()));
        assert_eq!(client.finish(SERVER_FINAL.as_bytes()), Ok(()));
        assert_eq!(client.finish(b""), Ok(()));
        assert!(!format!("{client:?}").contains("pencil"));
    }

    #[test]
    fn the_last_message_may_be_a_step_of_its_own() {
        let mut client = started();
        client.proceed(SERVER_FIRST.as_bytes()).unwrap();
        assert_eq!(client.proceed(SERVER_FINAL.as_bytes()), Ok(vec![]));
        assert_eq!(client.finish(b""), Ok(()));
        assert!(client.proceed(SERVER_FINAL.as_bytes()).is_err());
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_not_believed() {
        for answer in
            ["", "v=", "v=AAAA", "e=other-error", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="]
        {
            let mut client = started();
            client.proceed(SERVER_FIRST.as_bytes()).unwrap();
            assert!(client.finish(answer.as_bytes()).is_err(), "{answer}");
        }
        assert!(started().finish(SERVER_FINAL.as_bytes()).is_err());
        assert!(started().finish(b"").is_err());
    }

    #[test]
    fn a_first_message_that_is_wrong_is_refused() {
        for text in [
            "",
            "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=?,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==",
            "m=x,r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        ] {
            assert!(started().proceed(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn user_names_are_escaped() {
        let mut client = ScramSha256::new("a,b=c".to_owned(), vec![], "n".to_owned());
        assert_eq!(client.start(), Ok(b"n,,n=a=2Cb=3Dc,r=n".to_vec()));
    }

    proptest! {
        #[test]
        fn no_message_panics(first: Vec<u8>, second: Vec<u8>) {
            let mut client = started();
            let _ = client.proceed(&first);
            let _ = client.finish(&second);
        }
    }
}
