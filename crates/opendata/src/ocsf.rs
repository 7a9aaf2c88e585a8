//! The record as OCSF events, one JSON object a line, for a SIEM: what happened, by whom, from where, how many people and which kinds of
//! data; never which people.
//!
//! Classes: API Activity (6003) for accesses, attempts and refusals; Entity Management (3004) for posture, vetting and what operators
//! did; Application Lifecycle (6002) for the node itself. Heads records are the log's own bookkeeping and have no event.
//! Source: OCSF 1.4.0, the oldest release that has every attribute used; `docs/open-data.md` has the mapping as a table.

use crate::ExportFailed;
use crate::classes::ClassNames;
use ledger::record::{AccessBody, Body, Chain};
use ledger::{NodeEvent, Record};
use model::{ClassSet, IntegrationId, OperatorId, Outcome, Refusal, UnixMicros};
use serde_json::{Map, Value, json};
use sever::{Authority, Change, Entry, Target};
use std::io::{self, Write};
use storage::embedded::view::LogView;

/// The release whose classes and attributes are used.
pub const VERSION: &str = "1.4.0";

/// Writes the events of the records with `from <= time < to`. `log`: its origin; `version`: of this program. Returns how many.
///
/// # Errors
/// [`ExportFailed::Thinned`], [`ExportFailed::Log`], [`ExportFailed::Record`], [`ExportFailed::ClassTable`]; [`ExportFailed::File`] if `out` takes no more.
/// Lines written before are whole.
pub fn export(
    log: &str,
    view: &LogView,
    classes: &ClassNames,
    version: &str,
    (from, to): (UnixMicros, UnixMicros),
    out: &mut (impl Write + ?Sized),
) -> Result<u64, ExportFailed> {
    let failed = |source: io::Error| ExportFailed::File { path: "the output".into(), source };
    let thinned = view.thinned();
    if thinned.reaches(from) && from < to {
        return Err(ExportFailed::Thinned { until: thinned.until });
    }
    let mut events = 0;
    for record in view.records_since(from) {
        let (index, stored) = record?;
        let unreadable =
            |what: &dyn ToString| ExportFailed::Record { index, what: what.to_string() };
        let record = stored.decode().map_err(|error| unreadable(&error))?;
        if record.header.time >= to {
            break;
        }
        if record.header.time < from {
            continue;
        }
        let Some(about) = about(&record, index, classes)? else { continue };
        let event = about.into_event(log, index, record.header.time, version);
        writeln!(out, "{event}").map_err(failed)?;
        events += 1;
    }
    out.flush().map_err(failed)?;
    Ok(events)
}

/// What differs between events.
struct About {
    class: Class,
    activity: (u32, &'static str),
    severity: Severity,
    /// Our own word for the kind of record.
    code: String,
    /// Attributes of the class.
    attributes: Value,
}

#[derive(Clone, Copy)]
enum Class {
    ApiActivity,
    EntityManagement,
    ApplicationLifecycle,
}

#[derive(Clone, Copy)]
enum Severity {
    Informational,
    Low,
    Medium,
    High,
}

const UNKNOWN: (u32, &str) = (0, "Unknown");
const CREATE: (u32, &str) = (1, "Create");
const READ: (u32, &str) = (2, "Read");
const UPDATE: (u32, &str) = (3, "Update");
const DELETE: (u32, &str) = (4, "Delete");
const ENABLE: (u32, &str) = (8, "Enable");
const DISABLE: (u32, &str) = (9, "Disable");
const OTHER: u32 = 99;

impl Class {
    /// Class, category, and their captions.
    const fn ids(self) -> (u32, &'static str, u32, &'static str) {
        match self {
            Self::ApiActivity => (6003, "API Activity", 6, "Application Activity"),
            Self::EntityManagement => {
                (3004, "Entity Management", 3, "Identity & Access Management")
            }
            Self::ApplicationLifecycle => {
                (6002, "Application Lifecycle", 6, "Application Activity")
            }
        }
    }
}

impl Severity {
    const fn ids(self) -> (u32, &'static str) {
        match self {
            Self::Informational => (1, "Informational"),
            Self::Low => (2, "Low"),
            Self::Medium => (3, "Medium"),
            Self::High => (4, "High"),
        }
    }
}

impl About {
    fn into_event(self, log: &str, index: u64, time: UnixMicros, version: &str) -> Value {
        let (class_uid, class_name, category_uid, category_name) = self.class.ids();
        let (activity_id, activity_name) = self.activity;
        let (severity_id, severity) = self.severity.ids();
        let mut event = json!({
            "class_uid": class_uid,
            "class_name": class_name,
            "category_uid": category_uid,
            "category_name": category_name,
            "activity_id": activity_id,
            "activity_name": activity_name,
            "type_uid": class_uid * 100 + activity_id,
            "time": time.0 / 1_000,
            "severity_id": severity_id,
            "severity": severity,
            "metadata": {
                "version": VERSION,
                "product": { "name": "Portcullis", "vendor_name": "Portcullis", "version": version },
                "log_name": log,
                "log_provider": "portcullis",
                // A log and an index name one record for ever, so an event that is sent twice can be told.
                "uid": format!("{log}#{index}"),
                "event_code": self.code,
                "original_time": time.to_string(),
            },
        });
        if let (Value::Object(event), Value::Object(mut attributes)) = (&mut event, self.attributes)
        {
            if let (Some(Value::Object(metadata)), Some(correlation)) =
                (event.get_mut("metadata"), attributes.remove("correlation_uid"))
            {
                metadata.insert("correlation_uid".into(), correlation);
            }
            event.extend(attributes);
        }
        event
    }
}

/// `None` for heads records.
fn about(record: &Record, index: u64, classes: &ClassNames) -> Result<Option<About>, ExportFailed> {
    let unreadable = |what: &str| ExportFailed::Record { index, what: what.to_owned() };
    let integration = match record.header.chain {
        Chain::Integration(integration) => Some(integration),
        Chain::System => None,
    };
    Ok(Some(match (&record.body, integration) {
        (Body::Access(body), Some(integration)) => {
            let mut set = ClassSet::EMPTY;
            for touch in &record.touches {
                set = set.union(&touch.classes);
            }
            let names = classes.of(&body.class_table, &set);
            let names = if set.is_empty() { Some(names.unwrap_or_default()) } else { names };
            access(integration, body, &names.ok_or(ExportFailed::ClassTable { index })?)
        }
        (Body::NotReleased { request, leaf }, Some(integration)) => About {
            class: Class::ApiActivity,
            activity: (OTHER, "Take back"),
            severity: Severity::Informational,
            code: "not_released".into(),
            attributes: json!({
                "correlation_uid": request.to_string(),
                "message": "nothing of a recorded release reached the socket",
                "actor": { "app_name": integration.to_string(), "app_uid": integration.to_string() },
                "api": { "operation": "unknown", "request": { "uid": request.to_string() } },
                // The record has no network; the release that is taken back has.
                "src_endpoint": { "name": "unknown" },
                "status_id": 1,
                "status": "Success",
                "unmapped": { "leaf": hex(leaf) },
            }),
        },
        (Body::UnauthenticatedRefusals { network, reason, second, count, .. }, _) => About {
            class: Class::ApiActivity,
            activity: UNKNOWN,
            severity: severity_of(*reason),
            code: "unauthenticated_refusals".into(),
            attributes: json!({
                "message": "requests without a proved caller were refused",
                "count": count,
                "start_time": second.saturating_mul(1_000),
                "actor": { "app_name": "unauthenticated" },
                "api": { "operation": "unknown" },
                "src_endpoint": { "ip": network.to_string() },
                "status_id": 2,
                "status": "Failure",
                "status_code": reason.code(),
            }),
        },
        (Body::Posture { entry }, _) => {
            posture(&Entry::from_bytes(entry).map_err(|_| unreadable("it holds no posture entry"))?)
        }
        (Body::OperatorAction { operator, action, .. }, _) => operator_action(*operator, action),
        (Body::Vetting { integration, step, .. }, _) => vetting(*integration, step),
        (Body::Node(event), _) => node(event),
        (Body::Heads(_), _) => return Ok(None),
        (Body::Access(_) | Body::NotReleased { .. }, None) => {
            return Err(unreadable("it is of an integration and on the system's chain"));
        }
    }))
}

fn access(integration: IntegrationId, body: &AccessBody, classes: &[&str]) -> About {
    let (code, message) = match body.outcome {
        Outcome::Released => ("access", "data was released"),
        Outcome::Attempted => {
            ("attempt", "an operation that writes or exports is about to be forwarded")
        }
        Outcome::Refused(_) => ("refusal", "a request was refused"),
    };
    let (activity, severity, decision) = match body.outcome {
        Outcome::Released => (READ, Severity::Informational, "Allow"),
        Outcome::Attempted => ((OTHER, "Attempt"), Severity::Informational, "Allow"),
        Outcome::Refused(reason) => (UNKNOWN, severity_of(reason), "Deny"),
    };
    let mut actor = json!({
        "app_name": integration.to_string(),
        "app_uid": integration.to_string(),
        "session": { "credential_uid": body.credential.to_string(), "is_remote": true },
    });
    if let (Value::Object(actor), Some(grant)) = (&mut actor, body.grant) {
        let policy = json!({ "name": "grant", "uid": grant.to_string() });
        actor.insert("authorizations".into(), json!([{ "decision": decision, "policy": policy }]));
    }
    let operation = body.operation.as_ref().map_or("unknown", |operation| operation.as_str());
    let mut attributes = json!({
        "correlation_uid": body.request.to_string(),
        "message": message,
        "actor": actor,
        "api": { "operation": operation, "request": { "uid": body.request.to_string() } },
        "src_endpoint": { "ip": body.network.to_string() },
        "resources": classes.iter().map(|name| json!({ "name": name, "type": "data class" })).collect::<Vec<_>>(),
        "unmapped": {
            "vendor": body.vendor.to_string(),
            "subjects": if body.outcome == Outcome::Released { body.touches } else { 0 },
            "bytes": body.bytes,
        },
    });
    if let Value::Object(attributes) = &mut attributes {
        match body.outcome {
            Outcome::Released => status(attributes, 1, "Success", None),
            Outcome::Attempted => status(attributes, 0, "Unknown", None),
            Outcome::Refused(reason) => status(attributes, 2, "Failure", Some(reason.code())),
        }
    }
    About { class: Class::ApiActivity, activity, severity, code: code.into(), attributes }
}

fn status(attributes: &mut Map<String, Value>, id: u32, status: &str, code: Option<&str>) {
    attributes.insert("status_id".into(), id.into());
    attributes.insert("status".into(), status.into());
    attributes.extend(code.map(|code| ("status_code".into(), code.into())));
}

/// How much a refusal is worth looking at: what a caller does wrong by itself is little, a decoy read is a break-in.
const fn severity_of(reason: Refusal) -> Severity {
    match reason {
        Refusal::Malformed
        | Refusal::UnknownOperation
        | Refusal::NotFound
        | Refusal::NotPermitted
        | Refusal::OriginFailed
        | Refusal::Unavailable => Severity::Low,
        Refusal::Unauthenticated
        | Refusal::Network
        | Refusal::Severed
        | Refusal::OverBudget
        | Refusal::OutOfContract => Severity::Medium,
        Refusal::Honey => Severity::High,
    }
}

fn posture(entry: &Entry) -> About {
    let (verb, activity, severity, target) = match &entry.change {
        Change::Sever(target) => ("sever", DISABLE, Severity::High, target),
        Change::Restrict(target) => ("restrict", UPDATE, Severity::Medium, target),
        Change::Restore(target) => ("restore", ENABLE, Severity::Medium, target),
    };
    let (actor, signers) = match &entry.authority {
        Authority::Rule(rule) => (json!({ "app_name": format!("rule {rule}") }), Vec::new()),
        Authority::Operators { signers, .. } => {
            let first = signers.first().map(ToString::to_string);
            let first = first.unwrap_or_else(|| "unknown".into());
            (json!({ "user": { "uid": first } }), signers.iter().map(ToString::to_string).collect())
        }
    };
    About {
        class: Class::EntityManagement,
        activity,
        severity,
        code: format!("posture_{verb}"),
        attributes: json!({
            "message": format!("posture: {verb} {target}"),
            "comment": entry.reason,
            "actor": actor,
            "entity": entity(target.kind(), &name_of(target)),
            "status_id": 1,
            "status": "Success",
            "unmapped": { "number": entry.number, "signers": signers },
        }),
    }
}

fn name_of(target: &Target) -> String {
    let text = target.to_string();
    text.split_once(':').map_or(text.clone(), |(_, name)| name.to_owned())
}

fn operator_action(operator: OperatorId, action: &str) -> About {
    let kind = match action {
        "exposure_query" | "evidence" | "subject_export" => "record",
        "list" | "console_open" => "registry",
        other => other.split('_').next().unwrap_or(other),
    };
    About {
        class: Class::EntityManagement,
        activity: activity_of(action),
        severity: Severity::Informational,
        code: format!("operator_{action}"),
        attributes: json!({
            "message": format!("operator: {action}"),
            "actor": { "user": { "uid": operator.to_string() } },
            "entity": entity(kind, action),
            "status_id": 1,
            "status": "Success",
        }),
    }
}

fn vetting(integration: IntegrationId, step: &str) -> About {
    About {
        class: Class::EntityManagement,
        activity: activity_of(step),
        severity: Severity::Informational,
        code: "vetting".into(),
        attributes: json!({
            "message": format!("vetting: {step}"),
            "comment": step,
            "entity": entity("integration", &integration.to_string()),
            "status_id": 1,
            "status": "Success",
        }),
    }
}

/// `type_id` 99: OCSF has no such kinds of entity, and lets us say our own.
fn entity(kind: &str, name: &str) -> Value {
    json!({ "type_id": OTHER, "type": kind, "name": name, "uid": name })
}

/// By the verb that an action's name ends in; what is not plainly one of the others changes something.
fn activity_of(action: &str) -> (u32, &'static str) {
    match action.rsplit('_').next().unwrap_or(action) {
        "add" | "apply" | "plant" => CREATE,
        "query" | "evidence" | "list" | "show" | "export" => READ,
        "open" if action == "console_open" => READ,
        "open" => CREATE,
        "remove" | "retire" | "withdraw" => DELETE,
        "sever" => DISABLE,
        _ => UPDATE,
    }
}

fn node(event: &NodeEvent) -> About {
    let (activity, severity, code, unmapped) = match event {
        NodeEvent::Start { lost_checkpoint } => {
            let severity =
                if lost_checkpoint.is_some() { Severity::High } else { Severity::Informational };
            (
                (3, "Start"),
                severity,
                "start",
                json!({ "lost_checkpoint": lost_checkpoint.is_some() }),
            )
        }
        NodeEvent::Stop => ((4, "Stop"), Severity::Informational, "stop", json!({})),
        NodeEvent::Gap { requests } => {
            let requests: Vec<String> = requests.iter().map(ToString::to_string).collect();
            ((OTHER, "Gap"), Severity::Medium, "gap", json!({ "requests": requests }))
        }
        NodeEvent::Clock { step } => {
            ((OTHER, "Clock step"), Severity::Medium, "clock", json!({ "step_micros": step }))
        }
    };
    About {
        class: Class::ApplicationLifecycle,
        activity,
        severity,
        code: format!("node_{code}"),
        attributes: json!({
            "message": format!("node: {code}"),
            "app": { "name": "Portcullis", "vendor_name": "Portcullis" },
            "status_id": 1,
            "status": "Success",
            "unmapped": unmapped,
        }),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
