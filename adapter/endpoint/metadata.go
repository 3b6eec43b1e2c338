package endpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"staffetta/fhir"
)

// statement is our CapabilityStatement, written once.
type statement struct {
	text []byte
	etag string
}

func newStatement() (statement, error) {
	text, err := fhir.Metadata(software())
	digest := sha256.Sum256(text)
	return statement{text: text, etag: `W/"` + hex.EncodeToString(digest[:8]) + `"`}, err
}

// software is what the build says of itself.
func software() (s fhir.Software) {
	build, known := debug.ReadBuildInfo()
	if !known {
		return s
	}
	s.Version = build.Main.Version
	for _, setting := range build.Settings {
		if _, err := time.Parse(time.RFC3339, setting.Value); setting.Key == "vcs.time" && err == nil {
			s.Released = setting.Value
		}
	}
	return s
}

// metadata answers anybody: what is said there is the same for all.
func (e *Endpoint) metadata(c *gin.Context) {
	header := c.Writer.Header()
	header["Content-Type"] = fhirJSON
	header.Set("ETag", e.statement.etag)
	header.Set("Cache-Control", "max-age=3600")
	if c.GetHeader("If-None-Match") == e.statement.etag {
		c.Status(http.StatusNotModified)
		c.Writer.WriteHeaderNow()
		return
	}
	header.Set("Content-Length", strconv.Itoa(len(e.statement.text)))
	c.Status(http.StatusOK)
	_, _ = c.Writer.Write(e.statement.text) // of HEAD, net/http sends the header only
}
