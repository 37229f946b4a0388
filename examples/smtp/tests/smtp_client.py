"""Sends mail with Python's smtplib.

    smtp_client.py PORT FOLDER LIMIT [CERTIFICATE]

All on one connection, in TLS if there is a certificate to believe in: first
what the server has to refuse, and behind each of it the first file of FOLDER,
so that it is seen to go on; then the other files. LIMIT is the server's limit
in bytes. Fails if an answer is not what it has to be.
"""

import pathlib
import smtplib
import ssl
import sys

SENDER = "sender@example.org"
RECIPIENTS = ["one@example.org", "two@example.org"]


def refused(error, code, call, *args):
    try:
        call(*args)
    except error as e:
        got = e.smtp_code if hasattr(e, "smtp_code") else {c for c, _ in e.recipients.values()}
        assert got == code, (got, code)
    else:
        raise AssertionError(f"{args[:2]} was not refused")


def main(port, folder, limit, certificate=None):
    first, *others = [p.read_bytes() for p in sorted(pathlib.Path(folder).iterdir())]
    large = b"x" * 70 + b"\r\n"
    large *= int(limit) // len(large) + 1
    with smtplib.SMTP("127.0.0.1", int(port), timeout=60) as smtp:
        if certificate:
            smtp.starttls(context=ssl.create_default_context(cafile=certificate))
        smtp.ehlo_or_helo_if_needed()
        assert smtp.has_extn("starttls") == (not certificate)
        assert smtp.esmtp_features["size"] == limit, smtp.esmtp_features
        assert smtp.noop()[0] == 250
        assert smtp.verify("one@example.org")[0] == 252
        assert smtp.expn("list")[0] == 502
        assert smtp.help()

        def send(mail, recipients=RECIPIENTS):
            return smtp.sendmail(SENDER, recipients, mail, ["BODY=8BITMIME"])

        refused(smtplib.SMTPSenderRefused, 552, send, large)
        assert send(first) == {}
        # Without a size declared, the limit is only met in the message.
        size = smtp.esmtp_features.pop("size")
        refused(smtplib.SMTPDataError, 552, send, large)
        assert send(first) == {}
        smtp.esmtp_features["size"] = size
        refused(smtplib.SMTPRecipientsRefused, {501}, send, first, ["nobody", "two@@example.org"])
        assert list(send(first, ["nobody"] + RECIPIENTS)) == ["nobody"]
        # smtplib mends line ends in text, but not in bytes.
        refused(smtplib.SMTPDataError, 550, send, b"Subject: x\r\n\r\na\nb\r\n")
        for mail in others:
            assert send(mail) == {}


main(*sys.argv[1:])
