package authz

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// aliyunScheme is Alibaba Cloud's type A, which is Huawei's type A as well:
// auth_key=TIME-RAND-UID-MD5, where MD5 is that of "/app/name-TIME-RAND-UID-KEY"
// in hex digits. It is good until TIME and the window.
type aliyunScheme struct{ window time.Duration }

func (aliyunScheme) oneSegment() bool { return true }

func (s aliyunScheme) read(k reading) (c claim, err error) {
	if !k.params.has("auth_key") {
		return c, notSigned("auth_key")
	}
	v, err := k.required("auth_key")
	if err != nil {
		return c, err
	}
	// As neither has a hyphen in it, the name's are the only ones that vary.
	parts := strings.Split(v, "-")
	if len(parts) != 4 || strings.ContainsFunc(v, isControl) {
		return c, &paramError{"auth_key", errors.New("must be a time, a random text, a user's number and 32 hex digits, joined by hyphens")}
	}
	at, err := unixTime("auth_key", parts[0])
	if err != nil {
		return c, err
	}
	c.end = at.Add(s.window)
	c.given, err = hexDigest("auth_key", parts[3], md5.Size)
	c.sum = func(sec string) []byte { return pathSum(k.app, k.name, parts[0], parts[1], parts[2], sec) }
	return c, err
}

// pathSum is the MD5 of a stream's path and more, joined by hyphens.
func pathSum(app, name string, more ...string) []byte {
	sum := md5.Sum([]byte("/" + app + "/" + name + "-" + strings.Join(more, "-")))
	return sum[:]
}

func (s aliyunScheme) sign(q SignRequest, sec string) (string, error) {
	if err := q.plainEnd(); err != nil {
		return "", err
	}
	at := strconv.FormatInt(q.Expires.Add(-s.window).Unix(), 10)
	if _, err := unixTime("", at); err != nil {
		return "", errNeedsEnd
	}
	random := rand.Text()
	return fmt.Sprintf("auth_key=%s-%s-0-%x", at, random, pathSum(q.App, q.Name, at, random, "0", sec)), nil
}

// tencentScheme is Tencent Cloud's, and Huawei's type B: txSecret is the MD5 of
// KEY, name and txTime in hex digits, txTime a time in hex digits. The app is
// not signed.
type tencentScheme struct{}

func (tencentScheme) oneSegment() bool { return true }

func (tencentScheme) read(k reading) (c claim, err error) {
	if !k.params.has("txSecret") {
		return c, notSigned("txSecret")
	}
	at, err := k.required("txTime")
	if err != nil {
		return c, err
	}
	if c.end, err = hexTime("txTime", at); err != nil {
		return c, err
	}
	c.given, err = k.digest("txSecret", md5.Size)
	c.sum = func(sec string) []byte { return md5Sum(sec, k.name, at) }
	return c, err
}

func md5Sum(parts ...string) []byte {
	sum := md5.Sum([]byte(strings.Join(parts, "")))
	return sum[:]
}

func (tencentScheme) sign(q SignRequest, sec string) (string, error) {
	if err := q.plainEnd(); err != nil {
		return "", err
	}
	at := fmt.Sprintf("%X", q.Expires.Unix())
	return "txSecret=" + hex.EncodeToString(md5Sum(sec, q.Name, at)) + "&txTime=" + at, nil
}

// huaweiScheme takes Huawei Cloud's type A and, which it signs, type D:
// hwSecret is the HMAC-SHA256 of name and hwTime in hex digits, hwTime a time
// in hex digits; it is good until hwTime and the window. With D, the app is not
// signed.
type huaweiScheme struct {
	a      aliyunScheme
	window time.Duration
}

func (huaweiScheme) oneSegment() bool { return true }

func (s huaweiScheme) read(k reading) (c claim, err error) {
	if !k.params.has("hwSecret") {
		return s.a.read(k)
	}
	at, err := k.required("hwTime")
	if err != nil {
		return c, err
	}
	start, err := hexTime("hwTime", at)
	if err != nil {
		return c, err
	}
	c.end = start.Add(s.window)
	c.given, err = k.digest("hwSecret", sha256.Size)
	c.sum = func(sec string) []byte { return huaweiSum(sec, k.name, at) }
	return c, err
}

func huaweiSum(sec, name, at string) []byte {
	m := hmac.New(sha256.New, []byte(sec))
	_, _ = io.WriteString(m, name+at)
	return m.Sum(nil)
}

func (s huaweiScheme) sign(q SignRequest, sec string) (string, error) {
	if err := q.plainEnd(); err != nil {
		return "", err
	}
	at := fmt.Sprintf("%x", q.Expires.Add(-s.window).Unix())
	if _, err := hexTime("", at); err != nil {
		return "", errNeedsEnd
	}
	return "hwSecret=" + hex.EncodeToString(huaweiSum(sec, q.Name, at)) + "&hwTime=" + at, nil
}
