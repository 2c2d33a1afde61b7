# The launcher
launcher-name = Launcher
launcher-title = Your applications
launcher-text = Everything that you may open from where you are now.
applications = Applications
launcher-search = Search
launcher-everything = Show everything
launcher-none = No application is open to you yet
launcher-none-text = Applications that a policy admits { $email } to stand here, ready to open. If you expected one, please ask your administrator.
launcher-not-found = Nothing found
launcher-not-found-text = No application of yours has “{ $find }” in its name or host.
tile-web = Web
tile-tcp = Access client
tile-bastion = Access client, several machines
tile-away = Not connected right now
tile-command = Open it with the access client, in a terminal on your computer; write any free port for PORT:
tile-command-host = Open it with the access client, in a terminal on your computer; write the machine and its port for HOST:PORT, and any free port of your computer for the last PORT:
tile-pattern = Any host whose name fits the pattern.

# Languages
language-set-title = Pages are in English now
language-set-text = Pages at this address are shown in English in this browser. Go back in the browser to return to your page.

# On the way back from signing in
opening-title = Opening { $short }
opening-text = You are signed in. If nothing happens, please press the button.
returning-title = Back to the access client
returning-text = The program on this computer gets your answer and goes on by itself. If nothing happens, please press the button.
returning-go = Go on
come-in-title = You are signed in to { $short }
come-in-text = You came here by way of another site. If this is what you wanted at <span class="mono">{ $host }</span>, please open it by the button.
signed-in-title = You are signed in
signed-in-text = <span class="mono">{ $host }</span> is open to this browser again.
signed-in-next = You can close this tab, and go on in the one that { $short } is open in.

# A form whose session has ended
session-over = session over
session-other = somebody else
new-tab = in a new tab
form-kept-title = Your session has ended, and your form is kept
form-kept-text = Nothing was sent to <span class="mono">{ $host }</span> yet. What you filled in is in this page.
form-kept-by = You filled it in as <b>{ $email }</b>; please sign in as the same person.
form-kept-first = Sign in again. It opens in a new tab, and this page stays.
form-kept-then = Come back to this page, and send the form again.
form-kept-send = Send again
form-kept-leave = Closing this page throws the form away.
form-other-title = Somebody else filled this form in
form-other-text = It was filled in as <b>{ $writer }</b>, and you are signed in as <b>{ $other }</b>. Nothing was sent to <span class="mono">{ $host }</span>, so that nothing arrives in the wrong name.
form-other-first = Sign out, and sign in as <b>{ $writer }</b>. It opens in a new tab, and this page stays.
form-lost-title = Your session ended before your form arrived
form-lost-text = Nothing was sent to <span class="mono">{ $host }</span>. The form has a file, or more than can be kept here.
form-lost-out = Nothing was sent to <span class="mono">{ $host }</span>. Somebody has signed out here meanwhile, so it is not known whose form it is.
form-lost-then = Come back to this page, and go back in your browser: most keep what was typed. Choose files, if any, anew, then send the form.
