package notifier

// SecureChannels says what Staffetta does for secure channels, and what only the institution can do. It is shown wherever
// people look whether all is well (reference io.md, 3).
const SecureChannels = "every message requires them (require_secure_channels: true), and nothing can turn that off; so no message " +
	"is forwarded by e-mail. The push on the phone is another matter: IO decides by the flag of the *service* alone " +
	"(require_secure_channel, sensitive information, in the service's card) whether it may show the title on the screen. " +
	"Set that flag too: Staffetta cannot see it. Look at the card in the Area Riservata now, and after each change of it."
