//! The access client of Tunnel: reaches protected TCP services. Not built yet; see the changelog.
