"""The eight pairs of version and suite, and servers that speak one of them alone."""
from lib_client import TLS12, TLS13
from lib_servers import GnutlsServ, Nginx, SServer

# name: version, {certificate: IANA number}, OpenSSL's names, GnuTLS's cipher and MAC
PAIRS = {
    "tls13_aes_128_gcm": (TLS13, {"server": 0x1301}, {"server": "TLS_AES_128_GCM_SHA256"},
                          "AES-128-GCM", "AEAD"),
    "tls13_aes_256_gcm": (TLS13, {"server": 0x1302}, {"server": "TLS_AES_256_GCM_SHA384"},
                          "AES-256-GCM", "AEAD"),
    "tls13_chacha20": (TLS13, {"ecdsa": 0x1303}, {"ecdsa": "TLS_CHACHA20_POLY1305_SHA256"},
                       "CHACHA20-POLY1305", "AEAD"),
    "tls13_aes_128_ccm": (TLS13, {"ecdsa": 0x1304}, {"ecdsa": "TLS_AES_128_CCM_SHA256"},
                          "AES-128-CCM", "AEAD"),
    "tls12_aes_128_gcm": (TLS12, {"server": 0xC02F, "ecdsa": 0xC02B},
                          {"server": "ECDHE-RSA-AES128-GCM-SHA256", "ecdsa": "ECDHE-ECDSA-AES128-GCM-SHA256"},
                          "AES-128-GCM", "AEAD"),
    "tls12_aes_256_gcm": (TLS12, {"server": 0xC030, "ecdsa": 0xC02C},
                          {"server": "ECDHE-RSA-AES256-GCM-SHA384", "ecdsa": "ECDHE-ECDSA-AES256-GCM-SHA384"},
                          "AES-256-GCM", "AEAD"),
    "tls12_chacha20": (TLS12, {"server": 0xCCA8, "ecdsa": 0xCCA9},
                       {"server": "ECDHE-RSA-CHACHA20-POLY1305", "ecdsa": "ECDHE-ECDSA-CHACHA20-POLY1305"},
                       "CHACHA20-POLY1305", "AEAD"),
    "tls12_aes_128_ccm": (TLS12, {"ecdsa": 0xC0AC}, {"ecdsa": "ECDHE-ECDSA-AES128-CCM"},
                          "AES-128-CCM", "AEAD"),
}


def openssl(pair, cert):
    version, _, names, _, _ = PAIRS[pair]
    if version == TLS13:
        return SServer("-tls1_3", "-ciphersuites", names[cert], cert=cert)
    return SServer("-tls1_2", "-cipher", names[cert], cert=cert)


def gnutls(pair, cert):
    version, _, _, cipher, mac = PAIRS[pair]
    tls = "1.3" if version == TLS13 else "1.2"
    return GnutlsServ(f"NORMAL:-VERS-ALL:+VERS-TLS{tls}:-CIPHER-ALL:+{cipher}:-MAC-ALL:+{mac}", cert=cert)


def nginx(pair, cert):
    version, _, names, _, _ = PAIRS[pair]
    if version == TLS13:
        return Nginx("TLSv1.3", cert, f"ssl_conf_command Ciphersuites {names[cert]};")
    return Nginx("TLSv1.2", cert, f"ssl_conf_command CipherString {names[cert]};")


SERVERS = {"openssl": openssl, "gnutls": gnutls, "nginx": nginx}


def every():
    """(pair, certificate, server's name, function that makes it)"""
    for pair, (_, numbers, *_) in PAIRS.items():
        for cert in numbers:
            for name, make in SERVERS.items():
                yield pair, cert, name, make
