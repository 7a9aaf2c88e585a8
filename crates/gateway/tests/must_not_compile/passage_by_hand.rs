// A `Passage` that posture did not grant.

use model::{IntegrationId, RequestId};
use sever::{Gate, Passage};
use std::sync::Arc;

fn another(
    proved: Passage,
    gate: Arc<Gate>,
    integration: IntegrationId,
    request: RequestId,
) -> Passage {
    Passage { gate, id: 0, integration, request, sent_before: 0 }
}
