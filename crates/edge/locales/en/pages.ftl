# What stands on every page
skip = Skip to content
language = Language
foot = Private pages of { $zone }, protected by Tunnel
no-admin-notice = <b>This edge has no administrator yet.</b> Whoever started it can open the set-up link from its terminal, or print a new one with <code>edge admin setup-link</code>.
no-admin-notice-plain = This edge has no administrator yet. Open the set-up link from its terminal, or print a new one with “edge admin setup-link”.

# Stations and facts
way = Your way to { $host }
stopped-where = Where your visit stopped
you = You
this-browser = this browser
sign-in = Sign in
you-are-here = you are here
private-page = private page
private = private
page = Page
done = done
not-yet = not yet
not-reached = not reached
stopped-here = stopped here
interrupted = interrupted
signed-in = Signed in
by-code = by e-mail code
policy = Policy
not-admitted = not admitted
you-admitted = admitted
edge = Edge
working = working
tunnel = Tunnel
connected = connected
error = Error
time = Time
reference = Reference
what-you-can-do = What you can do
if-it-lasts = If it lasts
if-it-happens-again = If it happens again
if-you-need-help = If you need help
if-it-should = If it should be there
tell-contact = Please tell <a href="{ $mailto }">{ $contact }</a> the reference.
tell-administrator = Please tell your administrator the reference.
try-again = Try again

# Sign in
login-name = Sign in to open { $short }
login-title = Sign in to open { $short }
login-going = You are going to <span class="mono">{ $host }</span>, a private page of { $zone }.
login-required = Sign in first: open this address in a browser.
email-label = E-mail address
email-not-an-address = This does not read as an e-mail address. Please write it like name@example.com.
send-code = E-mail me a code
mail-delayed = E-mail is delayed at the moment. Your code may take some minutes to arrive.

# The code
pin-name = Enter your code
pin-title = Enter your code
pin-dead-title = A new code is needed
pin-text = If <b>{ $email }</b> is admitted to <span class="mono">{ $host }</span>, a code of eight digits is on its way. Only admitted addresses get one.
code-label = Code from the e-mail
code-hint = Works once, for 10 minutes, in this browser only.
code-not-digits = The code has eight digits. Please type it as it stands in the e-mail.
code-wrong = { $left ->
    [one] This code does not match. You can try 1 more time, or send a new code.
   *[other] This code does not match. You can try { $left } more times, or send a new code.
}
code-void = This code can no longer be used. Please send a new code.
code-expired = The time of this code is over. Please send a new code.
open = Open { $short }
nothing-arrived = nothing arrived?
look-in-spam = Please look in the spam folder, and check that the address above is written correctly. Delivery can take a minute.
new-code = Send a new code
other-address = Use another address or method

# Start again
again-name = Start again
again-title = This sign-in cannot go on
again-text = It began in another browser or window, or too long ago. Nothing was opened; please start again.
again-open-text = It began in another browser or window, or too long ago. Nothing was opened; to start again, please open the page that you wanted.
start-again = Start again

# Turned away
denied-name = Not admitted
denied-title = Your sign-in worked, but { $short } is not open to this address
denied-text = No policy of <span class="mono">{ $host }</span> admits you at the moment. Nothing is wrong with your account or computer.
denied-text-plain = No policy of { $host } admits you at the moment.
denied-early-title = { $short } is not open from here
denied-early-text = No policy of <span class="mono">{ $host }</span> admits anyone from this network at the moment, so there is no point in signing in. Nothing is wrong with your computer.
denied-next = If you have another address, sign in with that one. If you need { $short } for your work, send the reference to your administrator, who can see why and change it.
denied-early-next = If you need { $short } for your work, try the network you usually open it from, or send the reference to your administrator, who can see why and change it.
signed-in-as = Signed in as
use-another = Use another address
write-to = Write to { $contact }

# Nothing here, and requests we cannot take
no-host-title = There is no such page
no-host-text = Nothing is published at <span class="mono">{ $host }</span>. Please check that the address is written correctly.
no-host-error = 404, unknown hostname
no-page-title = There is no such page
no-page-text = This address leads nowhere. Please check that it is written correctly.
no-page-error = 404, not found
bad-request-title = This request cannot be read
bad-request-text = The browser or program sent something that can be understood in more than one way, so nothing was done with it. Please open the address anew from the address bar.
bad-request-error = 400, unclear request
target-long-title = This address is too long
target-long-text = It is longer than any that is read here. Please check that it was copied correctly, or begin at the first page of the site.
target-long-error = 414, address too long
too-long-title = This request is too long
too-long-text = The browser or program sent more cookies or other headers than are accepted here. Opening the address anew, or deleting the cookies of this site, usually helps.
too-long-error = 431, too many or too large fields
method-title = This page cannot be used in this way
method-text = The request used a method that this page does not have. Nothing was changed.
method-error = 405, method not offered
form-title = This form was not accepted
form-text = The form was opened too long ago, or in another window, or another site sent it. Nothing was changed; please open it again.
form-error = 403, form not accepted
form-next = Open the form again
loop-title = This address leads back to itself
loop-text = The service behind <span class="mono">{ $host }</span> sends requests back here, so they never arrive. Whoever publishes it has to name another address of the service.
loop-error = 508, loop
many-title = Too many requests
many-text = Many requests came from your network in a short time. Please wait { $seconds } seconds, then try again.
many-error = 429, too many requests
overloaded-title = Very busy right now
overloaded-text = The edge carries as much as it can at the moment. It usually passes soon; please try again.
overloaded-error = 503, edge at its limit
fault-title = Something broke on our side
fault-text = Something went wrong in the edge. You did nothing wrong, and trying again may help.
fault-error = 500, fault of the edge

# On the way to the service
bad-answer-title = { $short } is connected but did not answer
bad-answer-text = You are admitted and the tunnel is up. The service behind <span class="mono">{ $host }</span> refused the connection or sent something that is not a valid answer.
bad-answer-last = If you had just sent a form, check whether it went through before you send it again.
bad-answer-error = 502, bad answer from the service
bad-answer-station = no valid answer
slow-title = { $short } is taking too long
slow-text = You are admitted and the tunnel is up. The service behind <span class="mono">{ $host }</span> did not answer in time.
slow-last = If you had just sent a form, check whether it went through before you send it again.
slow-error = 504, no answer in time
slow-station = no answer yet
no-tunnel-title = { $short } is not connected right now
no-tunnel-text = You are admitted. The private machine behind <span class="mono">{ $host }</span> has no connection to us at the moment; it may be restarting, switched off or offline.
no-tunnel-last = Whoever runs the private machine can see there whether its connector is running.
no-tunnel-error = 530, no tunnel
no-tunnel-station = not connected
busy-title = { $short } is busy right now
busy-text = You are admitted. The tunnel to <span class="mono">{ $host }</span> carries as much as it can at the moment. It usually passes within seconds.
busy-error = 503, tunnel at its limit
busy-station = at its limit
tcp-name = Not a web page
tcp-title = This is not a web page
tcp-text = <span class="mono">{ $host }</span> is opened with the access client, in a terminal on your computer; write any free port for PORT:

# Sign out
logout-name = Sign out
logout-title = Sign out?
logout-text = You are signed in as <b>{ $email }</b>. Signing out ends your sign-in at all private pages in this browser.
logout-nobody = You are not signed in at this address. Signing out removes what this address has left in this browser.
sign-out = Sign out
logout-stay = Stay signed in
logged-out-name = Signed out
logged-out-title = You are signed out
logged-out-text = Private pages ask you to sign in again from now on.
sign-in-again = Sign in again

# A machine asks
approve-name = Connect a machine
approve-title = Connect this machine to { $zone }?
approve-text = Someone typed <code>connector login</code>. Once approved, that machine can publish the hostnames you choose below, until you revoke it.
approve-compare = 1. Compare the code
approve-must-show = The terminal of the machine must show exactly this:
approve-who = 2. Check who asks
address = Address
seen-by-edge = seen by the edge
calls-itself = Calls itself
own-claim = its own claim, not verified
software = Software
asked = Asked
asked-at = { $minutes ->
    [0] <time datetime="{ $machine }">{ $time }, just now</time>
    [one] <time datetime="{ $machine }">{ $time }, 1 minute ago</time>
   *[other] <time datetime="{ $machine }">{ $time }, { $minutes } minutes ago</time>
}
lapses-at = ; <span class="whole">lapses at { $time }</span>
approve-warning = Approve only if you started this yourself, or are speaking with the person who did. A link that arrived by mail or chat is not a reason.
approve-choose = 3. Choose what it may publish
served-by = Served by { $tunnel }
free = Free
if-ticked = If ticked, visitors to { $short } go to this machine instead.
hosts-label = Hostnames
hosts-hint = The machine asked for none. Type those it may publish, with spaces between, for example www.{ $zone }.
same-code = The terminal shows the same code, <b class="mono">{ $code }</b>.
approve = Approve
refuse = Refuse
approve-not-compared = Please compare the codes, and tick that they are the same, before you approve.
approve-no-host = Please choose at least one hostname, or refuse.
approve-bad-host = Not every hostname can be used. Please type names that end in { $zone }.
approved-title = The machine is approved
approved-text = <span class="mono">{ $machine }</span> can now publish:
approved-next = Its terminal goes on by itself. You can close this page.
refused-title = You refused the machine
machine-refused-text = Nothing was published, and the attempt is noted in the log. You can close this page.
refused-text = Nothing was opened, and the attempt is noted in the log. You can close this page.
lapsed-title = There is nothing to approve
lapsed-text = This request was answered already, or it lapsed. Type <code>connector login</code> on the machine again for a new one.

# A program asks
client-name = Open { $short } from a program
client-result-name = Open a private page from a program
client-way = What you allow
client-computer = Computer
client-program = access client
client-as-you = as you
client-title = Let the access client reach { $short } as you?
client-text = A program asks to open <span class="mono">{ $host }</span> in the name of <b>{ $email }</b>. Its terminal must show this code:
client-text-elsewhere = A program on another device asks to open <span class="mono">{ $host }</span> in the name of <b>{ $email }</b>. Its terminal shows a code such as <span class="mono whole">KXBT-3MRQ</span>.
client-code-label = Code from the terminal
client-code-hint = Eight letters and digits. Only the terminal of the program shows them.
client-code-wrong = This is not the code in the terminal. After three tries the program has to ask anew.
client-allow-elsewhere = Allow
client-application = Application
client-command = Command
client-from = Asked from
client-same = Same address as this browser
client-other = Another address than this browser’s
client-lasts = Lasts
client-until = until { $time }, or until you sign out
client-warning = Allow it only if you have just typed this command yourself, and see its terminal in front of you. A link that arrived by mail or chat is not a reason: whoever sent it would get in as you.
client-allow = The codes match, allow
client-not-you = You did not start this? Choose Refuse; nothing is opened, and the attempt is noted in the log.
client-allowed-title = The program is let in
client-allowed-text = The access client on <span class="mono">{ $computer }</span> can now open <span class="mono">{ $host }</span> as you, until { $time }, or until you sign out.
client-refused-title = You refused the program
client-guessed-title = Too many wrong codes
client-guessed-text = Nothing was opened. Start the access client again, and type the code that its terminal shows then.
client-lapsed-title = There is nothing to allow
client-lapsed-text = This request was answered already, or it lapsed. Start the access client again for a new one.

# Set up
setup-name = Set up
setup-step = Set-up, step { $step } of 3
zone = Zone
administrator = administrator
first-app = First app
setup-email-title = Become the administrator
setup-email-text = Type your e-mail address. Then enter a code, and you become the first administrator of { $zone }.
setup-send = Send me a code
setup-pin-terminal = The code for <b>{ $email }</b> stands in the terminal in which the edge runs.
setup-pin-mail = A code of eight digits is on its way to <b>{ $email }</b>.
setup-code-label = Code
setup-show-code = Show a new code
setup-become = Become administrator
setup-done-title = You are the administrator
setup-done-text = <b>{ $email }</b> is the first administrator of this edge.
setup-done-next = Now publish something. Type this on the machine that serves it, with the address of your own service:
setup-done-hint = The connector dials out to the edge, so no port needs to be opened. Nobody is admitted unless a policy says so.
setup-lapsed-title = This set-up link no longer works
setup-lapsed-text = It was used already, or it is too old. Whoever runs the edge can print a new one:
no-admin-name = No administrator yet
no-admin-title = This edge has no administrator yet
no-admin-quick = Open the set-up link that the edge printed in its terminal when it started. To print a new one, type:
no-admin-text = Add an address to <code>[admin] emails</code> in its configuration, or print a set-up link on the machine that runs it:
