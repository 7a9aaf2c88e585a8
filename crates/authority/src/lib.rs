//! OAuth authorization server logic: pushed requests, codes, tokens, consents, metadata, keys.
//!
//! An integration gets tokens on its own account (`client_credentials`), or on a subject's: it pushes a request (RFC 9126), the
//! subject agrees to some of it, and the code that comes of it is redeemed with the key that the tokens are bound to. There is no token
//! that is not bound to a key or certificate, and no other profile than that of FAPI 2.0.
//!
//! Nothing here speaks HTTP or stores anything: the layer above reads the form, sends `Cache-Control: no-store` with
//! every answer (RFC 6749 section 5.1), and the status, `DPoP-Nonce` and JSON that it is given.
//! Start reading at [`TokenEndpoint::prove`], then [`flows`] and [`consent`].

pub mod consent;
pub mod details;
mod endpoint;
mod error;
pub mod flows;
mod form;
mod keys;
mod metadata;
mod openapi;
mod push;
pub mod redirect;
pub mod register;
mod status;

#[cfg(test)]
mod flow_tests;
#[cfg(test)]
mod tests;

pub use endpoint::{
    Applicant, Asked, BadIssuer, Proven, Standing, TokenEndpoint, TokenRequest, TokenResponse,
    TokenType,
};
pub use error::{Reason, TokenError};
pub use form::Form;
pub use metadata::{
    AUTHORIZE_PATH, INTROSPECT_PATH, JWKS_PATH, METADATA_PATH, OPENAPI_PATH, PUSH_PATH,
    REGISTER_PATH, REVOKE_PATH, TOKEN_PATH,
};
pub use status::Inquiry;
