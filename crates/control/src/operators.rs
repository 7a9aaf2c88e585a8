//! The operators' listener: `POST /v1/commands` with a signed command, and what anybody on the machine may see.

use crate::cases::Office;
use crate::desk::{Answer, Desk, NotDone};
use crate::questions::CannotAnswer;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::ORIGIN;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use storage::embedded::Keeper;
use storage::registry::{RegistryError, SignedCommand};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Longest body of a command: the largest attachment in base64, and the command.
const COMMAND_BYTES_MAX: usize = 24 << 20;

/// Commands whose bodies are held at a time; others wait outside of our memory.
pub const BODIES_MAX: usize = 8;

/// How long a command may take to arrive.
const BODY_READ_MAX: Duration = Duration::from_secs(20);

/// What the operators' listener serves.
pub struct Operators {
    /// Carries out commands.
    pub desk: Arc<Desk>,
    /// Keeps cases.
    pub office: Arc<Office>,
    /// [`BODIES_MAX`] permits to read a body.
    pub bodies: Semaphore,
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

async fn command(State(operators): State<Arc<Operators>>, body: Body) -> Response {
    // Nobody has signed for a body that is still to be read, so only a few are held at a time.
    let Ok(Ok(_turn)) = timeout(BODY_READ_MAX, operators.bodies.acquire()).await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too many commands at a time");
    };
    let Ok(body) = timeout(BODY_READ_MAX, to_bytes(body, COMMAND_BYTES_MAX)).await else {
        return problem(StatusCode::REQUEST_TIMEOUT, "the command did not arrive in time");
    };
    let Ok(body) = body else {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "the command is longer than 24 MiB");
    };
    let command = match SignedCommand::from_json(&body) {
        Ok(command) => command,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    // A task of its own: a client that goes away must not leave a command half carried out.
    let desk = Arc::clone(&operators.desk);
    match tokio::spawn(async move { desk.carry_out(&command).await }).await {
        Ok(Ok(Answer::Json(answer))) => Json(answer).into_response(),
        Ok(Ok(Answer::Long(long, place))) => {
            ([("content-type", "application/json")], long.into_body(place)).into_response()
        }
        Ok(Ok(Answer::Bundle(bytes))) => {
            ([("content-type", "application/octet-stream")], bytes).into_response()
        }
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
        NotDone::NoAnswer(CannotAnswer::Busy) => StatusCode::SERVICE_UNAVAILABLE,
        NotDone::Unknown(_)
        | NotDone::NoOperation(_)
        | NotDone::Unvetted(_)
        | NotDone::NotChecked(_)
        | NotDone::NoStep(_)
        | NotDone::NoAnswer(_) => StatusCode::UNPROCESSABLE_ENTITY,
        NotDone::NotRecorded(_)
        | NotDone::NotPublished(_)
        | NotDone::NotKept(_)
        | NotDone::NoSignals(_)
        | NotDone::NotThinned(_) => StatusCode::SERVICE_UNAVAILABLE,
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
