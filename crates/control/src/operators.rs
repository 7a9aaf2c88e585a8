//! The operators' listener: `POST /v1/commands` with a signed command, and what anybody on the machine may see.

use crate::desk::{Desk, NotDone};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::sync::Arc;
use storage::embedded::Keeper;
use storage::registry::{RegistryError, SignedCommand};

/// What the operators' listener serves.
pub struct Operators {
    /// Carries out commands.
    pub desk: Arc<Desk>,
    /// Posture, whose head a command must be signed against.
    pub keeper: Arc<Keeper>,
}

/// The routes. The listener is loopback; who may do what is decided by signatures alone.
pub fn routes(operators: Arc<Operators>) -> Router {
    Router::new()
        .route("/v1/commands", post(command))
        .route("/v1/posture", get(posture))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(operators)
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
    let posture = operators.keeper.switch().posture();
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
    Json(json!({
        "schema": "portcullis.posture/1",
        "number": posture.number(),
        "head": posture.head().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "severed": list(posture.severed().collect()),
        "restricted": list(posture.restricted().collect()),
    }))
}

fn status(not_done: &NotDone) -> StatusCode {
    match not_done {
        NotDone::Refused(RegistryError::NotAuthorised(_)) => StatusCode::FORBIDDEN,
        NotDone::Refused(
            RegistryError::Corrupt(_) | RegistryError::Unavailable(_) | RegistryError::Migration(_),
        ) => StatusCode::SERVICE_UNAVAILABLE,
        NotDone::Refused(_) => StatusCode::CONFLICT,
        NotDone::Unknown(_) | NotDone::NoOperation(_) | NotDone::NoAnswer(_) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
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
