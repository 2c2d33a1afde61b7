//! `GET /.access/language?to=ja&back=/x` on every host: a language is chosen for this host, in this browser.

use crate::{
    Lang, Response,
    login::{Answer, Ask, Desk, see_other},
    pages::{BadRequest, LanguageSet, way_back},
    session::cookie::{self, LANGUAGE_COOKIE, LANGUAGE_LIFE},
};

/// Answers it: back to the page that it was chosen on, or a page that says so. Nothing else changes by it, so that nobody
/// minds who made the link.
pub(crate) fn choose(desk: &Desk<'_>, ask: &Ask<'_>) -> Answer<Response> {
    crate::faults::at("language");
    let Some(lang) = Lang::of_tag(&ask.parameter("to")).filter(|_| ask.has_at_most_one("to")) else {
        let page = BadRequest { reference: ask.visit.reference, at: ask.visit.now };
        return Err(Box::new(page.render(&desk.context(ask))));
    };
    let back = ask.parameter("back");
    let back = way_back(&back).filter(|_| ask.has_at_most_one("back"));
    let mut response = match back {
        Some(back) => see_other(&ask.visit.url(&ask.visit.host, back)),
        None => {
            let mut context = desk.context(ask);
            (context.lang, context.back) = (lang, None);
            LanguageSet.render(&context)
        }
    };
    cookie::set(response.headers_mut(), LANGUAGE_COOKIE, lang.tag(), LANGUAGE_LIFE);
    Ok(response)
}
