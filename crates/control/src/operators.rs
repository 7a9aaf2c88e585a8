//! The operators' listener: `POST /v1/commands` with a signed command, and what anybody on the machine may see.

use crate::cases::Office;
use crate::desk::{Desk, NotDone};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::ORIGIN;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::sync::Arc;
use storage::embedded::Keeper;
use storage::registry::{RegistryError, SignedCommand};

/// Longest body of a command: the largest attachment in base64, and the command.
const COMMAND_BYTES_MAX: usize = 24 << 20;

/// What the operators' listener serves.
pub struct Operators {
    /// Carries out commands.
    pub desk: Arc<Desk>,
    /// Keeps cases.
    pub office: Arc<Office>,
    /// Posture, whose head a command must be signed against.
    pub keeper: Arc<Keeper>,
}

/// The routes. The listener is loopback; who may do what is decided by signatures alone.
pub fn routes(operators: Arc<Operators>) -> Router {
    Router::new()
        .route("/v1/commands", post(command))
        .route("/v1/letters/{incident}", get(letters))
        .route("/v1/posture", get(posture))
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(from_fn(no_page))
        // A bill of materials travels in base64.
        .layer(DefaultBodyLimit::max(COMMAND_BYTES_MAX))
        .with_state(operators)
}

/// Refuses what a page in a browser asks for: the console has routes of its own, and a page of somebody else that has its name
/// resolve to this machine would read what stands here. Whoever types the address by hand is no page.
async fn no_page(request: Request, next: Next) -> Response {
    let site = request.headers().get("sec-fetch-site").map(HeaderValue::as_bytes);
    if request.headers().contains_key(ORIGIN) || site.is_some_and(|site| site != b"none") {
        return problem(StatusCode::FORBIDDEN, "this is for programs; the console is at /console/");
    }
    next.run(request).await
}

/// How far the letters of a case are. Counts only, as anybody on the machine may see.
async fn letters(
    State(operators): State<Arc<Operators>>,
    Path(incident): Path<String>,
) -> Response {
    let Ok(incident) = incident.parse() else {
        return problem(StatusCode::NOT_FOUND, "that is not the id of a case");
    };
    match operators.office.letters(incident).await {
        Ok(mut progress) => {
            if let Some(members) = progress.as_object_mut() {
                members.insert("schema".to_owned(), "portcullis.letters/1".into());
            }
            Json(progress).into_response()
        }
        Err(reason) => problem(StatusCode::SERVICE_UNAVAILABLE, &with_causes(&reason)),
    }
}

async fn command(State(operators): State<Arc<Operators>>, body: Bytes) -> Response {
    let command = match SignedCommand::from_json(&body) {
        Ok(command) => command,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    // A task of its own: a client that goes away must not leave a command half carried out.
    let desk = Arc::clone(&operators.desk);
    match tokio::spawn(async move { desk.carry_out(&command).await }).await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(not_done)) => problem(status(&not_done), &with_causes(&not_done)),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the command was broken off"),
    }
}

async fn posture(State(operators): State<Arc<Operators>>) -> Json<Value> {
    Json(contained(&operators.keeper.switch().posture()))
}

/// Posture as rows: `portcullis.posture/1`.
pub fn contained(posture: &sever::Posture) -> Value {
    let list = |items: Vec<(&sever::Target, &sever::Containment)>| -> Vec<Value> {
        let row = |(target, containment): (&sever::Target, &sever::Containment)| {
            json!({
                "target": target.to_string(),
                "since": containment.since.to_string(),
                "reason": containment.reason,
                "entry": containment.number,
                "by": match &containment.authority {
                    sever::Authority::Rule(rule) => rule.clone(),
                    sever::Authority::Operators { signers, .. } => {
                        signers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
                    }
                },
            })
        };
        items.into_iter().map(row).collect()
    };
    json!({
        "schema": "portcullis.posture/1",
        "number": posture.number(),
        "head": posture.head().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "severed": list(posture.severed().collect()),
        "restricted": list(posture.restricted().collect()),
    })
}

fn status(not_done: &NotDone) -> StatusCode {
    match not_done {
        NotDone::Refused(RegistryError::NotAuthorised(_)) => StatusCode::FORBIDDEN,
        NotDone::Refused(
            RegistryError::Corrupt(_) | RegistryError::Unavailable(_) | RegistryError::Migration(_),
        ) => StatusCode::SERVICE_UNAVAILABLE,
        NotDone::Refused(_) => StatusCode::CONFLICT,
        NotDone::Unknown(_)
        | NotDone::NoOperation(_)
        | NotDone::Unvetted(_)
        | NotDone::NotChecked(_)
        | NotDone::NoStep(_)
        | NotDone::NoAnswer(_) => StatusCode::UNPROCESSABLE_ENTITY,
        NotDone::NotRecorded(_) | NotDone::NotPublished(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({ "type": "about:blank", "status": status.as_u16(), "detail": detail });
    (status, [("content-type", "application/problem+json")], body.to_string()).into_response()
}
