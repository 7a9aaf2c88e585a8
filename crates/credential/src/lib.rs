//! Who is calling? Tokens, DPoP proofs, message signatures, client assertions, replay: everything that turns a request's credentials into a [`Caller`].
//!
//! Nothing here decides what a caller may read (that is `policy`) or whether it has been cut off (that is `sever`); a
//! [`Caller`] says only that this request was made, once, by the holder of a registered key, under a grant that still runs.
//! Start reading at [`mod@authenticate`], then [`dpop`].

pub mod assertion;
pub mod authenticate;
pub mod base64url;
mod cache;
pub mod certificate;
mod claims;
pub mod client;
pub mod denied;
pub mod dpop;
pub mod foreign;
pub mod httpsig;
mod htu;
pub mod id_token;
mod json;
mod jwk;
mod jws;
mod known_key;
mod nonce;
pub mod replay;
mod sender;
mod signing;
pub mod token;
mod verifier;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use authenticate::{Caller, RequestProof, authenticate};
pub use certificate::{ClientCertificate, ClientTrust, Shown};
pub use denied::{BadProof, BadToken, Denied, KnownCaller};
pub use httpsig::BadSignature;
pub use jwk::{Algorithm, BadKey, PublicKey, sha256};
pub use nonce::{Nonce, NonceKey};
pub use signing::{NotAPrivateKey, SigningKey};
pub use token::AccessToken;
pub use verifier::Verifier;
