//! OAuth authorization server logic: the token endpoint, metadata, keys.
//!
//! One grant type (`client_credentials`), one way to prove a client (`private_key_jwt`), and no token that is not bound to
//! a key or certificate. Nothing here speaks HTTP: the layer above reads the form, sends `Cache-Control: no-store` with
//! every answer of the token endpoint (RFC 6749 section 5.1), and the status, `DPoP-Nonce` and JSON that it is given.
//! Start reading at [`TokenEndpoint::token`].

mod endpoint;
mod error;
mod form;
mod keys;
mod metadata;

#[cfg(test)]
mod tests;

pub use endpoint::{
    Applicant, BadIssuer, Standing, TokenEndpoint, TokenRequest, TokenResponse, TokenType,
};
pub use error::{Reason, TokenError};
pub use metadata::{JWKS_PATH, METADATA_PATH, TOKEN_PATH};
