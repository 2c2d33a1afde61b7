//! The approval page: asked for by GET, answered by POST, by administrators only. Who the administrator is and whether the
//! form is our own is established by the caller.

use tunnel_proto::EmailAddress;

use crate::{
    Response, Visit,
    pages::{ApproveConnector, ApproveProblem, EdgeFault, EnrolResult, Form as Fields, HostChoice, PageContext},
    tunnels::Desk,
};

use super::{
    EnrolError, Verdict, Wish,
    approval::{self, Choice, Form, Missing},
    decide, waiting,
};

/// The page about the wish with this id. `token` goes into its form. Looking changes nothing.
pub async fn show(desk: &Desk<'_>, visit: &Visit, context: &PageContext, id: &str, token: &str) -> Response {
    ask(desk, visit, context, &Form::blank(id), token, None).await
}

/// Acts on a form that `administrator` sent. Also says whether something was decided, so that a new snapshot is due.
/// `token` is for the page that asks again when something is missing.
pub async fn submit(
    desk: &Desk<'_>,
    visit: &Visit,
    context: &PageContext,
    administrator: &EmailAddress,
    form: Form,
    token: &str,
) -> (Response, bool) {
    let verdict = match form.clone().verdict() {
        Ok(verdict) => verdict,
        Err(missing) => return (ask(desk, visit, context, &form, token, Some(problem(missing))).await, false),
    };
    match decide(desk, administrator, &form.id, &verdict).await {
        Ok(wish) => (result(wish, verdict).render(context), true),
        Err(EnrolError::Problem(crate::tunnels::Problem::Internal)) => (fault(visit, context), true),
        Err(EnrolError::Problem(_)) => {
            (ask(desk, visit, context, &form, token, Some(ApproveProblem::BadHost)).await, false)
        }
        Err(EnrolError::Gone | EnrolError::TooMany) => (EnrolResult::Lapsed.render(context), false),
    }
}

async fn ask(
    desk: &Desk<'_>,
    visit: &Visit,
    context: &PageContext,
    form: &Form,
    token: &str,
    problem: Option<ApproveProblem>,
) -> Response {
    let found = match waiting(desk, &form.id).await {
        Ok(Some(wish)) => approval::choices(desk, &wish).await.map(|choices| (wish, choices)),
        Ok(None) => return EnrolResult::Lapsed.render(context),
        Err(error) => Err(error),
    };
    match found {
        Ok((wish, choices)) => page(wish, choices, visit, form, token, problem).render(context),
        Err(_) => fault(visit, context),
    }
}

fn page(
    wish: Wish,
    choices: Vec<Choice>,
    visit: &Visit,
    form: &Form,
    token: &str,
    problem: Option<ApproveProblem>,
) -> ApproveConnector {
    // Ticked beforehand is only what takes nothing from anybody; asked again, what was ticked.
    let ticked = |choice: &Choice| match problem {
        None => choice.served_by.is_none(),
        Some(_) => form.allowed.iter().any(|one| {
            one.hostname == choice.hostname && one.from == choice.served_by.as_ref().map(|(tunnel, _)| *tunnel)
        }),
    };
    let choice = |choice: Choice| HostChoice {
        ticked: ticked(&choice),
        value: choice.value(),
        host: choice.hostname.to_string(),
        served_by: choice.served_by.map(|(_, name)| name),
    };
    ApproveConnector {
        code: wish.code,
        address: wish.source,
        machine: wish.ask.machine,
        software: wish.ask.software,
        asked: wish.asked,
        lapses: wish.expires,
        now: visit.now,
        hosts: choices.into_iter().map(choice).collect(),
        typed: form.typed.clone(),
        problem,
        form: Fields::new(token).with("id", form.id.clone()),
    }
}

fn problem(missing: Missing) -> ApproveProblem {
    match missing {
        Missing::Comparison => ApproveProblem::NotCompared,
        Missing::Hostname => ApproveProblem::NoHost,
        Missing::Readable => ApproveProblem::BadHost,
    }
}

fn result(wish: Wish, verdict: Verdict) -> EnrolResult {
    match verdict {
        Verdict::Approve(allowed) => {
            let hosts = allowed.into_iter().map(|one| one.hostname.to_string()).collect();
            EnrolResult::Approved { machine: wish.ask.machine, hosts }
        }
        Verdict::Refuse => EnrolResult::Refused,
    }
}

fn fault(visit: &Visit, context: &PageContext) -> Response {
    EdgeFault { reference: visit.reference, at: visit.now }.render(context)
}
