package notifier

// SecureChannels says what Staffetta does for secure channels, and what only the institution can do. It is shown wherever
// people look whether all is well (reference io.md, 3).
const SecureChannels = "every message requires them; but only the flag of the service itself (require_secure_channel, sensitive information, " +
	"in its card in the Area Riservata) keeps the title off the phone's screen, and Staffetta cannot see it: look there yourself"
