/* Connects with mbedTLS, sends CONNECT and PINGREQ, and prints the version of TLS when it has got
 * CONNACK and PINGRESP. Arguments: port, CA, certificate, key.
 *
 *   cc -o mbedtls mbedtls.c -lmbedtls -lmbedx509 -lmbedcrypto
 */
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <stdio.h>
#include <stdlib.h>

static void check(const char *what, int status)
{
	if (status < 0) {
		fprintf(stderr, "%s: -0x%x\n", what, -status);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	static const unsigned char connect[] = "\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00", ping[] = "\xc0\x00";
	unsigned char answer[256];
	mbedtls_entropy_context entropy;
	mbedtls_ctr_drbg_context random;
	mbedtls_x509_crt ca, own;
	mbedtls_pk_context key;
	mbedtls_ssl_config config;
	mbedtls_ssl_context tls;
	mbedtls_net_context net;

	if (argc != 5)
		return 2;
	mbedtls_entropy_init(&entropy);
	mbedtls_ctr_drbg_init(&random);
	mbedtls_x509_crt_init(&ca);
	mbedtls_x509_crt_init(&own);
	mbedtls_pk_init(&key);
	mbedtls_ssl_config_init(&config);
	mbedtls_ssl_init(&tls);
	mbedtls_net_init(&net);
	check("seed", mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0));
	check("CA", mbedtls_x509_crt_parse_file(&ca, argv[2]));
	check("certificate", mbedtls_x509_crt_parse_file(&own, argv[3]));
	check("key", mbedtls_pk_parse_keyfile(&key, argv[4], NULL));
	check("defaults", mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT));
	mbedtls_ssl_conf_ca_chain(&config, &ca, NULL);
	mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
	check("own certificate", mbedtls_ssl_conf_own_cert(&config, &own, &key));
	check("set up", mbedtls_ssl_setup(&tls, &config));
	check("name", mbedtls_ssl_set_hostname(&tls, "localhost"));
	check("connect", mbedtls_net_connect(&net, "127.0.0.1", argv[1], MBEDTLS_NET_PROTO_TCP));
	mbedtls_ssl_set_bio(&tls, &net, mbedtls_net_send, mbedtls_net_recv, NULL);
	check("handshake", mbedtls_ssl_handshake(&tls));
	check("send CONNECT", mbedtls_ssl_write(&tls, connect, sizeof connect - 1));
	check("receive CONNACK", mbedtls_ssl_read(&tls, answer, sizeof answer));
	if (answer[0] != 0x20)
		return 3;
	check("send PINGREQ", mbedtls_ssl_write(&tls, ping, sizeof ping - 1));
	check("receive PINGRESP", mbedtls_ssl_read(&tls, answer, sizeof answer));
	if (answer[0] != 0xd0)
		return 4;
	puts(mbedtls_ssl_get_version(&tls));
	return 0;
}
