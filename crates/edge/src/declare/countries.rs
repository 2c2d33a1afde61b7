//! Which countries there are, by their two letters.

use tunnel_policy::Country;

/// ISO 3166-1 alpha-2 as of 2025, and `XK`, by which files of addresses mean Kosovo.
const CODES: &str = "\
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD \
CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF \
GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN \
KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA \
NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI \
SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI \
VN VU WF WS XK YE YT ZA ZM ZW";

/// What people write instead.
const INSTEAD: [(&str, &str); 4] = [("UK", "GB"), ("EL", "GR"), ("EN", "GB"), ("JA", "JP")];

/// A country, by two letters in any case.
pub(super) fn country(text: &str) -> Result<Country, String> {
    let country: Country = text.parse().map_err(|error| format!("`{text}`: {error}"))?;
    if CODES.split(' ').any(|code| code == country.as_str()) {
        return Ok(country);
    }
    let instead = INSTEAD.iter().find(|(wrong, _)| *wrong == country.as_str());
    let instead = instead.map(|(_, right)| format!("; did you mean `{right}`?")).unwrap_or_default();
    Err(format!("`{text}` is not the code of a country (ISO 3166-1, two letters){instead}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_a_country_and_stands_there_once() {
        let codes: Vec<_> = CODES.split(' ').collect();
        assert_eq!(codes.len(), 249 + 1);
        assert!(codes.is_sorted_by(|a, b| a < b));
        assert!(codes.iter().all(|code| country(code).is_ok_and(|country| country.as_str() == *code)));
        assert_eq!(country("jp").unwrap().as_str(), "JP");
    }

    #[test]
    fn what_is_none_is_refused_with_what_was_meant() {
        for text in ["", "J", "JPN", "Japan", "ＪＰ", "J1", "EU", "AP", "A1", "ZZ"] {
            assert!(country(text).is_err(), "{text:?}");
        }
        assert!(country("uk").unwrap_err().ends_with("did you mean `GB`?"));
    }
}
