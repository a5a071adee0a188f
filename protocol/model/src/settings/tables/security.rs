//! Security.

use crate::settings::setting::Check::{Any, AtLeast, Between, OneOf, OneOfIgnoreCase};
use crate::settings::setting::{Area, settings};

pub(super) const SECURITY: Area = Area {
    title: "Security",
    settings: settings! {
        String "authorizer.class.name" = "", Any, Node:
            "The class that decides who may do what; empty lets everybody.";
        Class "principal.builder.class" = "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder", Any, Broker:
            "The class that tells who a connection belongs to.";
        Long "connections.max.reauth.ms" = "0", Any, Node:
            "After how long a SASL connection must authenticate again; 0 is never.";
        String "security.providers" = null, Any, Node:
            "Classes that supply security algorithms.";
        Password "delegation.token.secret.key" = null, Any, Node:
            "The key that delegation tokens are signed with; the same on all nodes.";
        Long "delegation.token.max.lifetime.ms" = "604800000", AtLeast(1), Node:
            "How long a delegation token can be renewed in all.";
        Long "delegation.token.expiry.time.ms" = "86400000", AtLeast(1), Node:
            "How long a delegation token is valid before it must be renewed.";
        Long "delegation.token.expiry.check.interval.ms" = "3600000", AtLeast(1), Node:
            "How often expired delegation tokens are looked for.";
        String "ssl.protocol" = "TLSv1.3", Any, Broker:
            "The TLS version a context is made for.";
        String "ssl.provider" = null, Any, Broker:
            "The supplier of TLS.";
        List "ssl.cipher.suites" = "", Any, Broker:
            "The cipher suites that are allowed; empty allows the supplier's defaults.";
        List "ssl.enabled.protocols" = "TLSv1.2,TLSv1.3", Any, Broker:
            "The TLS versions that are allowed.";
        String "ssl.client.auth" = "none", OneOf(&["required", "requested", "none"]), Broker:
            "Whether clients must, may or need not show a certificate.";
        String "ssl.endpoint.identification.algorithm" = "https", Any, Broker:
            "How a server's name is checked against its certificate.";
        Class "ssl.engine.factory.class" = null, Any, Broker:
            "The class that makes TLS engines.";
        String "ssl.principal.mapping.rules" = "DEFAULT", Any, Node:
            "Rules that make a short name of a certificate's distinguished name.";
        String "ssl.secure.random.implementation" = null, Any, Broker:
            "The random source of TLS.";
        Boolean "ssl.allow.dn.changes" = "false", Any, Node:
            "Whether a new certificate may have another distinguished name.";
        Boolean "ssl.allow.san.changes" = "false", Any, Node:
            "Whether a new certificate may lack alternative names of the old one.";
        String "ssl.keymanager.algorithm" = "SunX509", Any, Broker:
            "The algorithm of the key manager.";
        String "ssl.trustmanager.algorithm" = "PKIX", Any, Broker:
            "The algorithm of the trust manager.";
        String "ssl.keystore.type" = "JKS", Any, Broker:
            "The format of the key store.";
        String "ssl.keystore.location" = null, Any, Broker:
            "The file of the key store.";
        Password "ssl.keystore.password" = null, Any, Broker:
            "The password of the key store.";
        Password "ssl.keystore.key" = null, Any, Broker:
            "The private key, as PEM.";
        Password "ssl.keystore.certificate.chain" = null, Any, Broker:
            "The certificate chain, as PEM.";
        Password "ssl.key.password" = null, Any, Broker:
            "The password of the private key.";
        String "ssl.truststore.type" = "JKS", Any, Broker:
            "The format of the trust store.";
        String "ssl.truststore.location" = null, Any, Broker:
            "The file of the trust store.";
        Password "ssl.truststore.password" = null, Any, Broker:
            "The password of the trust store.";
        Password "ssl.truststore.certificates" = null, Any, Broker:
            "The trusted certificates, as PEM.";
        List "sasl.enabled.mechanisms" = "GSSAPI", Any, Broker:
            "The SASL mechanisms clients may use.";
        String "sasl.mechanism.inter.broker.protocol" = "GSSAPI", Any, Broker:
            "The SASL mechanism brokers use among themselves.";
        String "sasl.mechanism.controller.protocol" = "GSSAPI", Any, Node:
            "The SASL mechanism used towards controllers.";
        Password "sasl.jaas.config" = null, Any, Broker:
            "The login of a SASL mechanism, in the format of JAAS.";
        Class "sasl.server.callback.handler.class" = null, Any, Node:
            "The class that answers a SASL mechanism's questions on the server.";
        Class "sasl.client.callback.handler.class" = null, Any, Node:
            "The class that answers a SASL mechanism's questions on the client.";
        Class "sasl.login.callback.handler.class" = null, Any, Node:
            "The class that answers a login's questions.";
        Class "sasl.login.class" = null, Any, Node:
            "The class that logs in.";
        Int "sasl.login.connect.timeout.ms" = null, Any, Node:
            "How long connecting to the identity provider may take.";
        Int "sasl.login.read.timeout.ms" = null, Any, Node:
            "How long the identity provider's answer may take.";
        Double "sasl.login.refresh.window.factor" = "0.8", Any, Broker:
            "After what share of its lifetime a credential is refreshed.";
        Double "sasl.login.refresh.window.jitter" = "0.05", Any, Broker:
            "By what share of its lifetime that moment is varied at random.";
        Short "sasl.login.refresh.min.period.seconds" = "60", Any, Broker:
            "How long a credential is left alone at least before it is refreshed.";
        Short "sasl.login.refresh.buffer.seconds" = "300", Any, Broker:
            "How long before its end a credential is refreshed at the latest.";
        Long "sasl.login.retry.backoff.ms" = "100", Any, Node:
            "How long a failed login waits at first before it is tried again.";
        Long "sasl.login.retry.backoff.max.ms" = "10000", Any, Node:
            "How long a failed login waits at most before it is tried again.";
        Int "sasl.server.max.receive.size" = "524288", Any, Node:
            "The largest SASL message that is read.";
        String "sasl.kerberos.service.name" = null, Any, Broker:
            "The name Kafka's Kerberos principals begin with.";
        String "sasl.kerberos.kinit.cmd" = "/usr/bin/kinit", Any, Broker:
            "The path of kinit.";
        Double "sasl.kerberos.ticket.renew.window.factor" = "0.8", Any, Broker:
            "After what share of its lifetime a ticket is renewed.";
        Double "sasl.kerberos.ticket.renew.jitter" = "0.05", Any, Broker:
            "By what share that moment is varied at random.";
        Long "sasl.kerberos.min.time.before.relogin" = "60000", Any, Broker:
            "How long the ticket thread sleeps between its checks.";
        List "sasl.kerberos.principal.to.local.rules" = "DEFAULT", Any, Broker:
            "Rules that make a short name of a Kerberos principal.";
        Boolean "sasl.oauthbearer.allow.unverified.audience" = "false", Any, Node:
            "Whether tokens are taken though no expected audience is set.";
        Boolean "sasl.oauthbearer.allow.unverified.issuer" = "false", Any, Node:
            "Whether tokens are taken though no expected issuer is set.";
        String "sasl.oauthbearer.assertion.algorithm" = "RS256", OneOfIgnoreCase(&["ES256", "RS256"]), Node:
            "The algorithm a client's assertion is signed with.";
        String "sasl.oauthbearer.assertion.claim.aud" = null, Any, Node:
            "The audience claim of the assertion.";
        Int "sasl.oauthbearer.assertion.claim.exp.seconds" = "300", Between(0, 86400), Node:
            "How long the assertion is valid.";
        String "sasl.oauthbearer.assertion.claim.iss" = null, Any, Node:
            "The issuer claim of the assertion.";
        Boolean "sasl.oauthbearer.assertion.claim.jti.include" = "false", Any, Node:
            "Whether the assertion gets an id of its own.";
        Int "sasl.oauthbearer.assertion.claim.nbf.seconds" = "60", Between(0, 3600), Node:
            "How far in the past the assertion begins to be valid.";
        String "sasl.oauthbearer.assertion.claim.sub" = null, Any, Node:
            "The subject claim of the assertion.";
        String "sasl.oauthbearer.assertion.file" = null, Any, Node:
            "A file with a ready assertion.";
        String "sasl.oauthbearer.assertion.private.key.file" = null, Any, Node:
            "The file of the key the assertion is signed with.";
        Password "sasl.oauthbearer.assertion.private.key.passphrase" = null, Any, Node:
            "The passphrase of that key.";
        String "sasl.oauthbearer.assertion.template.file" = null, Any, Node:
            "A file with further claims of the assertion.";
        String "sasl.oauthbearer.client.credentials.client.id" = null, Any, Node:
            "The client id for the client credentials grant.";
        Password "sasl.oauthbearer.client.credentials.client.secret" = null, Any, Node:
            "The client secret for the client credentials grant.";
        Int "sasl.oauthbearer.clock.skew.seconds" = "30", Any, Node:
            "By how much the identity provider's clock may differ.";
        List "sasl.oauthbearer.expected.audience" = "", Any, Node:
            "Audiences of which a token must name one.";
        String "sasl.oauthbearer.expected.issuer" = null, Any, Node:
            "The issuer a token must name.";
        Long "sasl.oauthbearer.jwks.endpoint.refresh.ms" = "3600000", Any, Node:
            "How often the identity provider's keys are read anew.";
        Long "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms" = "100", Any, Node:
            "How long a failed read of the keys waits at first.";
        Long "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms" = "10000", Any, Node:
            "How long a failed read of the keys waits at most.";
        String "sasl.oauthbearer.jwks.endpoint.url" = null, Any, Node:
            "Where the identity provider's keys are.";
        Class "sasl.oauthbearer.jwt.retriever.class" = "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever", Any, Node:
            "The class that fetches tokens.";
        Class "sasl.oauthbearer.jwt.validator.class" = "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator", Any, Node:
            "The class that checks tokens.";
        String "sasl.oauthbearer.scope" = null, Any, Node:
            "The scope that is asked for.";
        String "sasl.oauthbearer.scope.claim.name" = "scope", Any, Node:
            "The claim that holds the scope.";
        String "sasl.oauthbearer.sub.claim.name" = "sub", Any, Node:
            "The claim that holds the subject.";
        String "sasl.oauthbearer.token.endpoint.url" = null, Any, Node:
            "Where tokens are fetched.";
    },
};
