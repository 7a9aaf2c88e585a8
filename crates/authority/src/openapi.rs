//! The authority's endpoints for clients, as an OpenAPI document: for whoever makes requests from one, and for tests that others wrote.
//!
//! It says what is there and in what form answers come. What makes a request good is the standards' to say (`docs/standards/`).

use crate::metadata::{
    INTROSPECT_PATH, JWKS_PATH, METADATA_PATH, OPENAPI_PATH, PUSH_PATH, REGISTER_PATH, REVOKE_PATH,
    TOKEN_PATH,
};
use crate::register::BYTES_MAX;
use crate::{TokenEndpoint, details};
use serde_json::{Map, Value, json};

impl TokenEndpoint {
    /// The document (OpenAPI 3.1). `portal`: whether subjects can agree to anything.
    pub fn openapi(&self, portal: bool) -> Value {
        let get = |what: &str| json!({ "get": { "summary": what, "responses": { "200": object("as it says") } } });
        let mut paths = Map::new();
        let mut add = |path: &str, item: Value| paths.insert(path.to_owned(), item);
        add(METADATA_PATH, get("Metadata (RFC 8414)"));
        add(JWKS_PATH, get("The keys that tokens are signed with (RFC 7517)"));
        add(OPENAPI_PATH, get("This document"));
        add(TOKEN_PATH, form("A token (RFC 6749)", true, &token_form(), ok("Token")));
        let token = [("token", json!({ "type": "string" }))];
        let introspected = ok("Introspection");
        add(INTROSPECT_PATH, form("What a token is (RFC 7662)", false, &token, introspected));
        let given_back = json!({ "200": { "description": "it is worth nothing from now on" } });
        add(REVOKE_PATH, form("Gives a token back (RFC 7009)", false, &token, given_back));
        if portal {
            let pushed = json!({ "201": content("Pushed", "kept for a minute") });
            add(PUSH_PATH, form("Begins an authorization (RFC 9126)", true, &push_form(), pushed));
        }
        add(
            REGISTER_PATH,
            json!({ "post": registering("Registers, with a ticket (RFC 7591)", "201") }),
        );
        add(&format!("{REGISTER_PATH}/{{client}}"), registered());
        json!({
            "openapi": "3.1.0",
            "info": { "title": "Portcullis authority", "version": env!("CARGO_PKG_VERSION") },
            "servers": [{ "url": self.issuer() }],
            "paths": paths,
            "components": { "schemas": schemas(), "securitySchemes": {
                "ticket": { "type": "http", "scheme": "bearer" },
            } },
        })
    }
}

fn text() -> Value {
    json!({ "type": "string" })
}

/// The parameters by which a client proves itself, in any of the ways that metadata names.
fn client_proof() -> [(&'static str, Value); 3] {
    [("client_id", text()), ("client_assertion_type", text()), ("client_assertion", text())]
}

fn token_form() -> [(&'static str, Value); 7] {
    let grants = json!({ "type": "string", "enum": ["client_credentials", "authorization_code", "refresh_token"] });
    [
        ("grant_type", grants),
        ("scope", text()),
        ("resource", text()),
        ("code", text()),
        ("redirect_uri", text()),
        ("code_verifier", text()),
        ("refresh_token", text()),
    ]
}

fn push_form() -> [(&'static str, Value); 7] {
    let description = format!("a JSON array of one object of type `{}` (RFC 9396)", details::TYPE);
    [
        ("response_type", json!({ "type": "string", "enum": ["code"] })),
        ("redirect_uri", text()),
        ("state", text()),
        ("code_challenge", text()),
        ("code_challenge_method", json!({ "type": "string", "enum": ["S256"] })),
        ("authorization_details", json!({ "type": "string", "description": description })),
        ("dpop_jkt", text()),
    ]
}

/// An endpoint that a form is posted to; its first parameter is required.
fn form(what: &str, dpop: bool, own: &[(&str, Value)], good: Value) -> Value {
    let required: Vec<&str> = own.iter().map(|(name, _)| *name).take(1).collect();
    let properties: Map<_, _> = own
        .iter()
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .chain(client_proof().map(|(name, schema)| (name.to_owned(), schema)))
        .collect();
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    let parameters = if dpop {
        json!([{ "name": "DPoP", "in": "header", "schema": text(), "description": "RFC 9449" }])
    } else {
        json!([])
    };
    let mut responses = json!({
        "400": content("Error", "refused: RFC 6749 section 5.2"),
        "408": { "description": "it came too slowly" },
        "413": { "description": "it is too long" },
        "415": { "description": "it is no form" },
        "503": content("Error", "it cannot be judged at the moment"),
    });
    merge(&mut responses, good);
    json!({ "post": {
        "summary": what,
        "parameters": parameters,
        "requestBody": {
            "required": true,
            "content": { "application/x-www-form-urlencoded": { "schema": schema } },
        },
        "responses": responses,
    } })
}

/// What a registration is written to.
fn registering(what: &str, good: &str) -> Value {
    let mut operation = with_ticket(what, good);
    let body = json!({ "requestBody": {
        "required": true,
        "description": format!("client metadata, {BYTES_MAX} bytes at most"),
        "content": { "application/json": { "schema": { "type": "object" } } },
    } });
    merge(&mut operation, body);
    operation
}

fn with_ticket(what: &str, good: &str) -> Value {
    let mut responses = json!({
        "400": content("Error", "refused: RFC 7591 section 3.2.2"),
        "401": { "description": "no good ticket or token, or no such client" },
        "403": content("Error", "not at present"),
        "413": { "description": "it is too long" },
        "503": content("Error", "not at the moment"),
    });
    let answer = match good {
        "204" => json!({ "description": "it is over" }),
        _ => object("the registration, as it is in effect and as it is asked for"),
    };
    merge(&mut responses, json!({ good: answer }));
    json!({ "summary": what, "security": [{ "ticket": [] }], "responses": responses })
}

fn registered() -> Value {
    json!({
        "parameters": [{ "name": "client", "in": "path", "required": true, "schema": text() }],
        "get": with_ticket("A registration (RFC 7592)", "200"),
        "put": registering("Replaces a registration (RFC 7592)", "200"),
        "delete": with_ticket("Ends a registration (RFC 7592)", "204"),
    })
}

fn schemas() -> Value {
    let members = |required: &[&str], properties: Value| json!({ "type": "object", "required": required, "properties": properties });
    json!({
        "Error": members(&["error"], json!({ "error": text(), "error_description": text() })),
        "Token": members(&["access_token", "token_type", "expires_in"], json!({
            "access_token": text(),
            "token_type": { "type": "string", "enum": ["DPoP", "Bearer"] },
            "expires_in": { "type": "integer", "minimum": 1, "maximum": 300 },
            "scope": text(),
            "refresh_token": text(),
            "authorization_details": { "type": "array", "items": { "type": "object" } },
        })),
        "Pushed": members(&["request_uri", "expires_in"], json!({
            "request_uri": text(), "expires_in": { "type": "integer" },
        })),
        "Introspection": members(&["active"], json!({ "active": { "type": "boolean" } })),
    })
}

fn ok(schema: &str) -> Value {
    json!({ "200": content(schema, "granted") })
}

fn content(schema: &str, what: &str) -> Value {
    let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
    json!({ "description": what, "content": { "application/json": { "schema": schema } } })
}

fn object(what: &str) -> Value {
    json!({ "description": what, "content": { "application/json": { "schema": { "type": "object" } } } })
}

fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}
