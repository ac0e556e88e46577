//! The client's side of SCRAM (RFC 5802, RFC 7677): a password proved to a broker, and the broker to us, without
//! either sending it.
//!
//! Pure: the nonce is an argument. The text that the two sides sign is made of their own messages.

use crate::Mechanism;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};
use std::num::NonZeroU32;

/// Fewer rounds than the RFC asks for are refused, as are so many that they would be an attack on us.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;

/// An exchange whose first message is sent.
pub(super) struct Scram {
    hash: Hash,
    password: String,
    nonce: String,
    first_bare: String,
}

/// What the broker must answer at the end.
pub(super) struct Expected {
    signature: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Hash {
    hmac: hmac::Algorithm,
    pbkdf2: pbkdf2::Algorithm,
    digest: &'static digest::Algorithm,
}

impl Scram {
    /// Opens the exchange: itself and the first message.
    pub(super) fn start(
        mechanism: Mechanism,
        username: &str,
        password: &str,
        nonce: &str,
    ) -> (Scram, String) {
        let hash = match mechanism {
            Mechanism::ScramSha512 => {
                Hash { hmac: hmac::HMAC_SHA512, pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512, digest: &digest::SHA512 }
            }
            Mechanism::ScramSha256 | Mechanism::Plain => {
                Hash { hmac: hmac::HMAC_SHA256, pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256, digest: &digest::SHA256 }
            }
        };
        let name = username.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={name},r={nonce}");
        let message = format!("n,,{first_bare}");
        (Scram { hash, password: password.to_owned(), nonce: nonce.to_owned(), first_bare }, message)
    }

    /// Answers the broker's challenge: the last message, and what must come back.
    pub(super) fn answer(&self, challenge: &str) -> Result<(String, Expected), String> {
        let nonce = attribute(challenge, "r")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("its nonce does not continue ours".into());
        }
        let salt = STANDARD.decode(attribute(challenge, "s")?).map_err(|e| format!("its salt: {e}"))?;
        let rounds: u32 = attribute(challenge, "i")?.parse().map_err(|e| format!("its rounds: {e}"))?;
        let rounds = NonZeroU32::new(rounds)
            .filter(|r| ITERATIONS.contains(&r.get()))
            .ok_or_else(|| format!("it asks for {rounds} rounds"))?;

        let mut salted = vec![0; self.hash.digest.output_len()];
        pbkdf2::derive(self.hash.pbkdf2, rounds, &salt, self.password.as_bytes(), &mut salted);
        let client_key = self.sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest, &client_key);
        let unproven = format!("c=biws,r={nonce}");
        let signed = format!("{},{challenge},{unproven}", self.first_bare);
        let signature = self.sign(stored_key.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let server_key = self.sign(&salted, b"Server Key");
        let expected = Expected { signature: self.sign(&server_key, signed.as_bytes()) };
        Ok((format!("{unproven},p={}", STANDARD.encode(proof)), expected))
    }

    fn sign(&self, key: &[u8], text: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(self.hash.hmac, key), text).as_ref().to_vec()
    }
}

impl Expected {
    /// Judges the broker's last message: only who knows the password can sign it.
    pub(super) fn verify(&self, message: &str) -> Result<(), String> {
        if let Ok(error) = attribute(message, "e") {
            return Err(error.to_owned());
        }
        let signature = STANDARD.decode(attribute(message, "v")?).map_err(|e| e.to_string())?;
        if signature == self.signature { Ok(()) } else { Err("it does not know the password itself".into()) }
    }
}

fn attribute<'a>(message: &'a str, name: &str) -> Result<&'a str, String> {
    message
        .split(',')
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        .ok_or_else(|| format!("its message lacks {name}="))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    #[test]
    fn the_example_of_the_rfc() {
        let (scram, first) = Scram::start(Mechanism::ScramSha256, "user", "pencil", "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge =
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (last, expected) = scram.answer(challenge).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(expected.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
        assert!(expected.verify("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_err());
        assert_eq!(expected.verify("e=invalid-proof"), Err("invalid-proof".into()));
    }

    #[test]
    fn a_strange_challenge_is_refused() {
        let (scram, _) = Scram::start(Mechanism::ScramSha512, "u", "p", "abc");
        for challenge in
            ["", "r=xyz,s=AAAA,i=4096", "r=abc,s=AAAA,i=4096", "r=abcd,s=AAAA,i=1", "r=abcd,s=*,i=4096"]
        {
            assert!(scram.answer(challenge).is_err(), "{challenge}");
        }
    }
}
