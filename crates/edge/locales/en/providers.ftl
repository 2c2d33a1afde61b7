# Ways to sign in
or-by-mail = or by e-mail
or-another-way = or another way
by-method = by { $method }
login-method = Login method
use-another-account = Use another account

# Signing in at a provider does not go on
trouble-name = Sign-in interrupted
trouble-down-title = { $method } does not answer at the moment
trouble-down-text = You were to sign in at { $method }, which is down or takes too long. Please try again in a moment.
trouble-down-error = 503, { $method } does not answer
trouble-setup-title = Signing in with { $method } is not set up correctly
trouble-setup-text = Nothing is wrong with your account or computer. The administrator must look at this login method; please tell them the reference.
trouble-setup-error = 502, login method not set up correctly
trouble-answer-title = The answer of { $method } was not accepted
trouble-answer-text = It did not show beyond doubt who you are, so nobody was signed in. Please try again; if it happens again, the administrator must look.
trouble-answer-error = 502, answer of the login method not accepted
trouble-again-text = What { $method } sent back does not belong to this sign-in, or was used before. Nothing was opened; please start again.
trouble-again-error = 400, not the answer of { $method } to this sign-in
trouble-refused-title = { $method } did not sign you in
trouble-refused-text = You chose not to go on there, or { $method } did not let you. Nothing was opened. Please try again if that was not meant.
trouble-refused-error = 403, refused at { $method }
trouble-recent-title = { $method } did not ask again who you are
trouble-recent-text = For this you have to sign in there once more, and { $method } did not say that you have just done so. Please try again; if it happens again, the administrator must look.
trouble-recent-error = 403, no new sign-in at { $method }
trouble-unverified-title = Your e-mail address is not verified at { $method }
trouble-unverified-text = Please confirm your address there, usually by a link in an e-mail, and sign in again; or use another account.
trouble-unverified-error = 403, e-mail address not verified
trouble-email-title = { $method } did not share your e-mail address
trouble-email-text = Private pages are opened to e-mail addresses. Please add one to your account there, allow it to be shared and sign in again, or use another account.
trouble-email-error = 403, no e-mail address
trouble-account-title = This account belongs to another organisation
trouble-account-text = To open { $short }, please sign in again at { $method }, with the account that you have from the organisation.
trouble-account-error = 403, account of another organisation
trouble-much-title = { $method } tells more about you than can be kept
trouble-much-text = Your account is in very many groups, or says very much. The administrator can have less of it told; please tell them the reference.
trouble-much-error = 403, too many groups or claims

# Trying a login method
trial-name = Test of a login method
trial-ask-title = Sign in at { $method } for a test?
trial-ask-text = An administrator began a test of this login method. Nobody is signed in by it.
trial-ask-who = Who will read it
trial-ask-who-text = Whoever began the test, at the terminal from which this link came.
trial-ask-what = What they will read
trial-ask-what-text = What { $method } says of your account: its identifier, e-mail address, groups and further details.
trial-ask-careful = Go on only if you began this test yourself, or know who asks you to. If you are signed in there, you will not be asked again.
trial-ask-go = Go on to { $method }
trial-works-title = { $method } works
trial-works-text = Whoever signs in this way is known by the details below.
trial-refused-title = { $method } would let nobody in by this
trial-refused-text = Whoever signs in this way is turned away. This is why, and what was found:
trial-issuer = Issuer
trial-subject = Subject
trial-accepted = Believed because
trial-groups = Groups
trial-organization = Organisation and teams
trial-amr = How (amr)
trial-none = none
trial-nobody = Nobody was signed in by this test. The terminal shows the same; you can close this page.
trial-lapsed-title = This test link no longer works
trial-lapsed-text = It works once, for ten minutes. Type <code>edge admin login-method test NAME</code> again for a new one.

leaving-name = Going to { $method }
leaving-title = On to { $method }
leaving-text = You sign in there, and come back here.
leaving-go = Go on
