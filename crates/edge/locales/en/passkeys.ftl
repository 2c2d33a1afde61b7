# Signing in by passkey
passkey = Passkey
passkey-sign-in = Sign in with a passkey
passkey-cancelled = No passkey was used. If you have none for this page, please sign in another way.
passkey-known = This device has a passkey for this account already.
passkey-missing = This browser cannot use passkeys. Please sign in another way, or use another browser.
passkey-broken = The edge could not be reached, or the browser did not answer. Please try again.
passkey-no-script = Passkeys need script. Please allow it for this page, or use another browser.
passkey-refused = This passkey is not accepted here. It may have been deleted; please sign in another way.
passkey-void = This took too long, or was begun in another window. Please try again.
passkey-renew = Please sign in by { $method } once again. After that your passkey works as before.
passkey-renew-link = Sign in another way
passkey-elsewhere = Your passkey does not count for this, because you added it after signing in another way. Please sign in by { $methods }.
passkey-too-many = This account has as many passkeys as it can. Please delete one first.
passkey-not-made = The passkey was not accepted. Please try again, or use another device.
passkey-not-kept = This device cannot keep the passkey where it finds it again. Please use another one.
passkey-no-method = Passkeys are switched off here.
passkey-again = Your last sign-in was some time ago. Please sign in again before you add a passkey.

# The own account
account-name = Your account
account-title = Your account
account-text = <b>{ $email }</b>, signed in by e-mail code since <time datetime="{ $machine }">{ $time }</time>.
account-text-by = <b>{ $email }</b>, signed in by { $method } since <time datetime="{ $machine }">{ $time }</time>.
account-back = Back to your account
action = Action
delete = Delete
passkeys = Passkeys
passkey-none = No passkey on this account yet
passkey-what = A passkey signs you in with your fingerprint, face or screen lock, without waiting for mail.
passkey-add = Add a passkey
passkey-add-text = From now on it signs you in as <b>{ $email }</b>, on this device and wherever your password manager brings it.
passkey-label = Name
passkey-label-hint = So that you know it again in the list, for example the name of the device.
passkey-make = Create a passkey
passkey-added = Added
passkey-used = Last used
passkey-unused = never
passkey-delete = Delete the passkey
passkey-delete-one = Delete the passkey { $label }
passkey-delete-name = Delete a passkey
passkey-delete-title = Delete the passkey { $label }?
passkey-delete-ends = Ends
passkey-delete-ends-text = Nobody can sign in with it any more.
passkey-delete-stays = Stays
passkey-delete-stays-text = Sessions that were begun with it. If the device is lost, end them on the page before.
passkey-delete-back = To come back
passkey-delete-back-text = Add a passkey again. The device goes on offering the old one until it is removed there, too.
passkey-delete-last = It is the only passkey of this account. If you have no other way to sign in, you need a new invitation afterwards.
passkey-keep = Keep it
sessions = Sessions
sessions-end-all = End all sessions
session-device = Device
session-by = Signed in by
session-code = E-mail code
session-begun = Since
session-used = Last used
session-ends = ends { $time }
session-here = This browser
session-end = End
session-end-one = End the session of { $device }
session-client = Access client on { $device }
session-client-unnamed = Access client
session-browser = Browser

# Invitations
invitation-name = Invitation
invitation-title = Welcome to { $zone }
invitation-text = You are invited as <b>{ $email }</b>. Create a passkey on this device; it signs you in from now on.
invitation-text-name = { $name }, you are invited as <b>{ $email }</b>. Create a passkey on this device; it signs you in from now on.
invitation-until = This invitation works once, until <time datetime="{ $machine }">{ $time }</time>.
invitation-gone-title = This invitation no longer works
invitation-gone-text = It was used already, it is too old, or there is a newer one. If you have used it yourself, sign in with your passkey. Otherwise please ask your administrator for a new one.
invitation-gone-plain = This invitation was used already, or it no longer counts. Please ask your administrator for a new one.
invitation-closed-title = This invitation cannot be used right now
invitation-closed-text = Passkeys are switched off here at the moment. The invitation is not used up; please tell your administrator, and open the link again later.
