//! The pushed authorization request (RFC 9126): everything a request for a subject's consent says, checked before a browser is sent.

use crate::details::Details;
use crate::endpoint::{Client, ClientProof, Standing, TokenEndpoint, TokenRequest};
use crate::error::{Reason, TokenError};
use crate::flows::Pushed;
use crate::form::Form;
use crate::redirect;
use credential::base64url;
use credential::token::Binding;
use model::{ClassTable, CredentialId, Directory, UnixMicros};

/// Longest `state`.
const STATE_BYTES_MAX: usize = 1_024;

impl TokenEndpoint {
    /// Checks a pushed request. `standing`: what posture says of a credential of the client's. A DPoP proof is not needed, and if there is one the code is bound to its key.
    ///
    /// # Errors
    /// [`TokenError`].
    ///
    /// Source: RFC 9126 section 2.1, RFC 7636 section 4.3, RFC 9396 section 3, RFC 9449 section 10.1, FAPI 2.0 section 5.3.2.2.
    pub fn push(
        &self,
        request: &TokenRequest<'_>,
        directory: &Directory,
        classes: &ClassTable,
        standing: &dyn Fn(&CredentialId) -> Standing,
        now: UnixMicros,
    ) -> Result<Pushed, TokenError> {
        let by_nobody = |reason| TokenError { reason, integration: None };
        let form = Form::parse(request.body).ok_or(by_nobody(Reason::Form))?;
        //= RFC 9126 section 2: the client authenticates as at the token endpoint
        let proof = self.client(&form, request, directory, now).map_err(by_nobody)?;
        self.pushed(&form, &proof, request, directory, classes, standing, now)
            .map_err(|reason| TokenError { reason, integration: Some(proof.integration()) })
    }

    #[expect(clippy::too_many_arguments, reason = "as for `push`, taken apart")]
    fn pushed(
        &self,
        form: &Form,
        proof: &ClientProof,
        request: &TokenRequest<'_>,
        directory: &Directory,
        classes: &ClassTable,
        standing: &dyn Fn(&CredentialId) -> Standing,
        now: UnixMicros,
    ) -> Result<Pushed, Reason> {
        let asking = proof.integration();
        let client = Client { integration: asking, directory, now };
        let possession = match request.dpop {
            [] => None,
            [_, ..] => Some(self.possession(request, &self.push_url, now)?),
        };
        let proved = possession.as_ref().map(|possession| possession.binding());
        standing(&proof.credential()).admitted()?;
        if let Some(possession) = &possession {
            let (holder, _) = client.holder(possession)?;
            standing(&holder.id).admitted()?;
        }
        self.use_up(possession.as_ref(), proof, now)?;
        let (integration, _) = client.approved()?;

        //= RFC 9126 section 2.1: the request_uri parameter must not be provided in the pushed request
        if form.get("request_uri").is_some() {
            return Err(Reason::Parameter("request_uri"));
        }
        if form.get("request").is_some() {
            return Err(Reason::NotServed("request"));
        }
        //= RFC 6749 section 3.1.1: response_type is required
        if form.get("response_type") != Some("code") {
            return Err(Reason::NotServed("response_type"));
        }
        if form.get("response_mode").is_some_and(|mode| mode != "query") {
            return Err(Reason::NotServed("response_mode"));
        }
        //= RFC 6749 section 3.1.2.3: compared with the registered addresses, and required
        let asked = form.get("redirect_uri").ok_or(Reason::Parameter("redirect_uri"))?;
        if !integration.redirects.iter().any(|ours| redirect::is_same(ours, asked)) {
            return Err(Reason::Redirect);
        }
        //= RFC 7636 section 4.4.1: a request without a challenge is refused; plain is not served
        if form.get("code_challenge_method") != Some("S256") {
            return Err(Reason::Parameter("code_challenge_method"));
        }
        let challenge = form.get("code_challenge").and_then(base64url::decode_digest);
        let challenge = challenge.ok_or(Reason::Parameter("code_challenge"))?;
        let state = form.get("state");
        if state.is_some_and(|state| state.len() > STATE_BYTES_MAX) {
            return Err(Reason::Parameter("state"));
        }
        //= RFC 8707 section 2.1: invalid_target for a resource we do not issue tokens for
        if form.get("resource").is_some_and(|resource| resource != self.resource) {
            return Err(Reason::Resource);
        }
        let named = form.get("dpop_jkt").map(base64url::decode_digest);
        let named = match named {
            None => None,
            Some(None) => return Err(Reason::Parameter("dpop_jkt")),
            Some(Some(thumbprint)) => Some(Binding::Key(thumbprint)),
        };
        //= RFC 9449 section 10.1: if both are there, dpop_jkt must be the thumbprint of the proof's key
        if let (Some(named), Some(proved)) = (&named, &proved)
            && named != proved
        {
            return Err(Reason::Parameter("dpop_jkt"));
        }
        let details =
            form.get("authorization_details").ok_or(Reason::Parameter("authorization_details"))?;
        let resource = &self.resource;
        let details = Details::parse(details, asking, directory, classes, resource, now)
            .map_err(Reason::Details)?;
        Ok(Pushed {
            integration: asking,
            redirect_uri: asked.to_owned(),
            state: state.map(str::to_owned),
            challenge,
            details,
            key: named.or(proved),
        })
    }
}
