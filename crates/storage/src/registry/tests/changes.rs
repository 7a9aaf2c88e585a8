//! What each command does, and when it is refused.

use super::fixture::{
    CREDENTIAL, GRANT, INTEGRATION, LATER, NOW, Person, VENDOR, World, apply, approve,
    credential_add, grant_add, vendor_add,
};
use crate::registry::RegistryError;
use crate::registry::command::{Command, Limits, Scope, SubjectText};
use model::{
    CredentialState, IntegrationId, IntegrationState, SubjectId, SubjectScope, UnixMicros,
};

async fn state(world: &World) -> IntegrationState {
    world.registry.directory().await.unwrap().integrations[&INTEGRATION].state
}

fn sever(target: &str) -> Command {
    Command::Sever { target: target.parse().unwrap(), reason: "incident".into() }
}

fn restore(target: &str) -> Command {
    Command::Restore { target: target.parse().unwrap(), reason: "new keys".into() }
}

fn restrict() -> Command {
    Command::IntegrationRestrict { integration: INTEGRATION, reason: "odd reads".into() }
}

#[tokio::test]
async fn an_approved_integration_is_in_the_directory_with_its_key_and_grant() {
    let world = World::with_integration().await;
    let snapshot = world.registry.snapshot().await.unwrap();
    let directory = &snapshot.directory;
    assert_eq!(directory.vendors[&VENDOR].slug, "acme");
    let integration = &directory.integrations[&INTEGRATION];
    assert_eq!(integration.state, IntegrationState::Approved { until: LATER });
    assert_eq!(integration.tier, 2);
    let credential = &directory.credentials[&CREDENTIAL];
    assert_eq!(credential.state, CredentialState::Active { until: LATER });
    assert_eq!(credential.networks.len(), 2);
    let grant = &directory.grants[&GRANT];
    assert_eq!(
        snapshot.classes.names(&grant.classes),
        ["user.contact.email", "user.contact.phone"]
    );
    assert_eq!(grant.operations.len(), 2);
    assert_eq!((grant.budget.burst, grant.budget.day), (10, 1_000));
    assert_eq!(grant.purpose.as_str(), "support");
}

#[tokio::test]
async fn a_life_from_application_to_retirement() {
    let world = World::with_integration().await;
    world.one(restrict()).await.unwrap();
    assert_eq!(state(&world).await, IntegrationState::Restricted { until: LATER });
    world.one(sever("integration:acme-desk")).await.unwrap();
    world.one(sever("integration:acme-desk")).await.unwrap();
    assert_eq!(state(&world).await, IntegrationState::Severed);
    assert!(matches!(world.both(approve()).await, Err(RegistryError::NotFromHere(_))));
    world.both(restore("integration:acme-desk")).await.unwrap();
    assert_eq!(state(&world).await, IntegrationState::Restricted { until: LATER });
    world.both(approve()).await.unwrap();
    assert_eq!(state(&world).await, IntegrationState::Approved { until: LATER });

    assert_eq!(world.registry.expire(UnixMicros(LATER.0 - 1)).await.unwrap(), 0);
    assert_eq!(world.registry.expire(LATER).await.unwrap(), 1);
    assert_eq!(state(&world).await, IntegrationState::Expired);
    world.both(approve()).await.unwrap();
    world.one(Command::IntegrationRetire { integration: INTEGRATION }).await.unwrap();
    assert_eq!(state(&world).await, IntegrationState::Expired);
    assert!(matches!(world.both(approve()).await, Err(RegistryError::NotFromHere(_))));
    assert!(world.both(grant_add(&["user.name"])).await.is_err());
}

#[tokio::test]
async fn severing_a_vendor_severs_all_its_integrations() {
    for target in ["vendor:acme", &format!("vendor:{VENDOR}")] {
        let world = World::with_integration().await;
        let other = IntegrationId::from_bytes([22; 16]);
        let apply = Command::IntegrationApply {
            integration: other,
            slug: "acme-mail".into(),
            vendor: VENDOR,
        };
        world.one(apply).await.unwrap();
        world.one(sever(target)).await.unwrap();
        let directory = world.registry.directory().await.unwrap();
        assert!(directory.integrations.values().all(|i| i.state == IntegrationState::Severed));
        world.both(restore(target)).await.unwrap();
        let directory = world.registry.directory().await.unwrap();
        assert_eq!(directory.integrations[&other].state, IntegrationState::Applied);
    }
    let world = World::with_integration().await;
    assert!(matches!(world.one(sever("vendor:nobody")).await, Err(RegistryError::Unknown(_))));
    assert!(matches!(world.one(sever("integration:nobody")).await, Err(RegistryError::Unknown(_))));
    for elsewhere in ["network:203.0.113.0/24", "operation:getAccount"] {
        world.one(sever(elsewhere)).await.unwrap();
    }
}

#[tokio::test]
async fn a_freeze_stops_every_step_of_onboarding_and_nothing_else() {
    let world = World::with_integration().await;
    world.one(Command::Freeze { reason: "acme incident".into() }).await.unwrap();
    let other = Command::IntegrationApply {
        integration: IntegrationId::from_bytes([22; 16]),
        slug: "acme-mail".into(),
        vendor: VENDOR,
    };
    let second_key = credential_add(&Person::new(91));
    for step in [other, approve(), second_key, grant_add(&["user.name"])] {
        let action = step.action();
        let refused = world.both(step).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("onboarding is frozen (acme incident), so `{action}` is not carried out")
        );
    }
    assert_eq!(state(&world).await, IntegrationState::Approved { until: LATER });
    world.one(restrict()).await.unwrap();
    world.one(Command::GrantWithdraw { grant: GRANT }).await.unwrap();
    world.one(sever("vendor:acme")).await.unwrap();
    world.both(Command::Unfreeze {}).await.unwrap();
    world.both(restore("vendor:acme")).await.unwrap();
    world.both(approve()).await.unwrap();
}

#[tokio::test]
async fn what_is_withdrawn_or_retired_stays_so() {
    let world = World::with_integration().await;
    world.one(Command::GrantWithdraw { grant: GRANT }).await.unwrap();
    world.one(Command::CredentialRetire { credential: CREDENTIAL }).await.unwrap();
    let directory = world.registry.directory().await.unwrap();
    assert!(directory.grants.is_empty());
    assert_eq!(directory.credentials[&CREDENTIAL].state, CredentialState::Retired);
    assert!(matches!(world.both(grant_add(&["user.name"])).await, Err(RegistryError::Taken(_))));
    assert!(world.registry.grants().await.unwrap()[0].withdrawn);
}

#[tokio::test]
async fn a_key_belongs_to_one_credential_for_ever() {
    let world = World::with_integration().await;
    world.one(Command::CredentialRetire { credential: CREDENTIAL }).await.unwrap();
    let mut again = credential_add(&Person::new(90));
    if let Command::CredentialAdd { credential, .. } = &mut again {
        *credential = model::CredentialId::from_bytes([33; 16]);
    }
    assert!(matches!(world.both(again).await, Err(RegistryError::Taken(_))));
}

#[tokio::test]
async fn commands_that_make_no_sense_change_nothing() {
    let world = World::with_integration().await;
    let before = world.registry.snapshot().await.unwrap();
    let private = {
        let mut command = credential_add(&Person::new(92));
        if let Command::CredentialAdd { jwk, .. } = &mut command {
            jwk.insert("d".into(), "AAAA".into());
        }
        command
    };
    let bad_network = {
        let mut command = credential_add(&Person::new(93));
        if let Command::CredentialAdd { credential, networks, .. } = &mut command {
            *credential = model::CredentialId::from_bytes([34; 16]);
            networks.push("everywhere".into());
        }
        command
    };
    let grant = |change: &dyn Fn(&mut Command)| {
        let mut command = grant_add(&["user.name"]);
        if let Command::GrantAdd { grant, .. } = &mut command {
            *grant = model::GrantId::from_bytes([44; 16]);
        }
        change(&mut command);
        command
    };
    let budget = |burst, hour, day| {
        grant(&|c| {
            if let Command::GrantAdd { budget, .. } = c {
                *budget = Limits { burst, hour, day }
            }
        })
    };
    let commands = [
        budget(0, 100, 1_000),
        budget(101, 100, 1_000),
        budget(10, 1_001, 1_000),
        vendor_add(),
        apply(),
        Command::VendorAdd {
            vendor: model::VendorId::from_bytes([55; 16]),
            slug: "Acme".into(),
            name: "Acme".into(),
        },
        Command::IntegrationApprove { integration: INTEGRATION, until: NOW },
        Command::IntegrationApprove { integration: INTEGRATION, until: LATER + model::Micros(1) },
        private,
        bad_network,
        grant(&|c| {
            if let Command::GrantAdd { operations, .. } = c {
                operations.clear()
            }
        }),
        grant(&|c| {
            if let Command::GrantAdd { classes, .. } = c {
                classes.insert("user.contcat".into());
            }
        }),
        grant(&|c| {
            if let Command::GrantAdd { expires, .. } = c {
                *expires = NOW
            }
        }),
        grant(&|c| {
            if let Command::GrantAdd { purpose, .. } = c {
                *purpose = "Any thing".into()
            }
        }),
        grant(&|c| {
            if let Command::GrantAdd { scope, .. } = c {
                *scope = Scope::Attribute { pointer: "tenant".into(), value: "7".into() };
            }
        }),
    ];
    for command in commands {
        let shown = format!("{command:?}");
        assert!(world.both(command).await.is_err(), "{shown}");
    }
    assert_eq!(world.registry.snapshot().await.unwrap(), before);
}

#[tokio::test]
async fn every_subject_scope_and_decoy_is_read_back() {
    let world = World::with_integration().await;
    let subject = |text| SubjectId::new(text).unwrap();
    let subjects = vec![SubjectText(subject("4711")), SubjectText(subject("4712"))];
    let scopes = [
        (Scope::TokenSubject {}, SubjectScope::TokenSubject),
        (
            Scope::Consenting { subjects },
            SubjectScope::Consenting([subject("4711"), subject("4712")].into()),
        ),
        (Scope::All {}, SubjectScope::All),
    ];
    for (n, (written, expected)) in (60..).zip(scopes) {
        let id = model::GrantId::from_bytes([n; 16]);
        let mut command = grant_add(&["user"]);
        if let Command::GrantAdd { grant, scope, .. } = &mut command {
            (*grant, *scope) = (id, written);
        }
        world.both(command).await.unwrap();
        assert_eq!(world.registry.directory().await.unwrap().grants[&id].scope, expected);
    }
    for _ in 0..2 {
        let plant = Command::HoneyPlant { subject: SubjectText(subject("decoy")) };
        world.one(plant).await.unwrap();
    }
    assert_eq!(world.registry.snapshot().await.unwrap().honey, [subject("decoy")].into());
}

#[tokio::test]
async fn looking_is_remembered_and_changes_no_revision() {
    let world = World::with_integration().await;
    let before = world.registry.directory().await.unwrap().revision;
    let look = Command::ExposureQuery { question: "integration acme-desk, today".into() };
    assert_eq!(world.one(look).await.unwrap().revision, before);
    world.one(Command::Evidence { scope: "acme".into() }).await.unwrap();
    assert_eq!(world.one(Command::ClockAcknowledge {}).await.unwrap().revision, before + 1);
    let commands = world.registry.commands(3).await.unwrap();
    assert!(commands.iter().any(|c| c.action == "exposure_query"));
    assert!(commands.iter().all(|c| c.operators == [world.ada.operator.id]));
}
