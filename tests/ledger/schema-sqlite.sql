CREATE INDEX ix_actor_keys_actor_id ON actor_keys (actor_id);
CREATE INDEX ix_checkpoints_size ON checkpoints (size);
CREATE INDEX ix_decisions_request_id ON decisions (request_id);
CREATE INDEX ix_deliveries_outbox_state_due_at ON deliveries (outbox, state, due_at);
CREATE INDEX ix_delivery_attempts_delivery_id ON delivery_attempts (delivery_id);
CREATE INDEX ix_evaluation_reports_digest ON evaluation_reports (digest);
CREATE INDEX ix_evaluation_reports_projector_id ON evaluation_reports (projector_id);
CREATE INDEX ix_evaluation_reports_version_id ON evaluation_reports (version_id);
CREATE INDEX ix_events_action_seq ON events (action, seq);
CREATE INDEX ix_events_actor_seq ON events (actor, seq);
CREATE INDEX ix_events_subject_action_seq ON events (subject, action, seq);
CREATE INDEX ix_overrides_request_id ON overrides (request_id);
CREATE INDEX ix_overrides_version_id ON overrides (version_id);
CREATE INDEX ix_private_texts_commitment ON private_texts (commitment);
CREATE INDEX ix_private_texts_request_id ON private_texts (request_id);
CREATE INDEX ix_projectors_request_id ON projectors (request_id);
CREATE INDEX ix_request_targets_domain_request_id ON request_targets (domain, request_id);
CREATE INDEX ix_request_targets_label_request_id ON request_targets (label, request_id);
CREATE INDEX ix_request_targets_request_id ON request_targets (request_id);
CREATE INDEX ix_requests_basis_id ON requests (basis, id);
CREATE INDEX ix_requests_filed_by_id ON requests (filed_by, id);
CREATE INDEX ix_requests_held_id ON requests (held, id);
CREATE INDEX ix_requests_model_id_state_id ON requests (model_id, state, id);
CREATE INDEX ix_requests_state_id ON requests (state, id);
CREATE TABLE actor_keys (
	id INTEGER NOT NULL, 
	actor_id INTEGER NOT NULL, 
	key_id VARCHAR(71) NOT NULL, 
	public_key VARCHAR(44) NOT NULL, 
	added_at DATETIME NOT NULL, 
	retired_at DATETIME, 
	CONSTRAINT pk_actor_keys PRIMARY KEY (id), 
	CONSTRAINT fk_actor_keys_actor_id FOREIGN KEY(actor_id) REFERENCES actors (id), 
	CONSTRAINT uq_actor_keys_key_id UNIQUE (key_id)
);
CREATE TABLE actors (
	id INTEGER NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	roles JSON NOT NULL, 
	active BOOLEAN NOT NULL, 
	added_at DATETIME NOT NULL, 
	CONSTRAINT pk_actors PRIMARY KEY (id), 
	CONSTRAINT uq_actors_name UNIQUE (name)
);
CREATE TABLE aliases (
	model_id INTEGER NOT NULL, 
	name VARCHAR(40) NOT NULL, 
	version_id INTEGER NOT NULL, 
	CONSTRAINT pk_aliases PRIMARY KEY (model_id, name), 
	CONSTRAINT fk_aliases_model_id FOREIGN KEY(model_id) REFERENCES models (id), 
	CONSTRAINT fk_aliases_version_id FOREIGN KEY(version_id) REFERENCES model_versions (id)
);
CREATE TABLE arrays (
	digest VARCHAR(71) NOT NULL, 
	dtype VARCHAR(16) NOT NULL, 
	shape JSON NOT NULL, 
	data BLOB NOT NULL, 
	CONSTRAINT pk_arrays PRIMARY KEY (digest)
);
CREATE TABLE checkpoints (
	id INTEGER NOT NULL, 
	size INTEGER NOT NULL, 
	root VARCHAR(64) NOT NULL, 
	key_id VARCHAR(71) NOT NULL, 
	note TEXT NOT NULL, 
	taken_at DATETIME NOT NULL, 
	CONSTRAINT pk_checkpoints PRIMARY KEY (id)
);
CREATE TABLE datasets (
	id INTEGER NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	role VARCHAR(20) NOT NULL, 
	location TEXT NOT NULL, 
	digest VARCHAR(71) NOT NULL, 
	images INTEGER NOT NULL, 
	skipped INTEGER NOT NULL, 
	manifest TEXT NOT NULL, 
	added_at DATETIME NOT NULL, 
	CONSTRAINT pk_datasets PRIMARY KEY (id), 
	CONSTRAINT uq_datasets_name UNIQUE (name)
);
CREATE TABLE decisions (
	id INTEGER NOT NULL, 
	request_id INTEGER NOT NULL, 
	ruling VARCHAR(20) NOT NULL, 
	actor VARCHAR(200) NOT NULL, 
	projector_id INTEGER, 
	projector_digest VARCHAR(71), 
	report_digest VARCHAR(71), 
	policy_digest VARCHAR(71) NOT NULL, 
	break_glass BOOLEAN NOT NULL, 
	comment_id INTEGER, 
	decided_at DATETIME NOT NULL, 
	CONSTRAINT pk_decisions PRIMARY KEY (id), 
	CONSTRAINT fk_decisions_comment_id FOREIGN KEY(comment_id) REFERENCES private_texts (id), 
	CONSTRAINT fk_decisions_projector_id FOREIGN KEY(projector_id) REFERENCES projectors (id), 
	CONSTRAINT fk_decisions_request_id FOREIGN KEY(request_id) REFERENCES requests (id)
);
CREATE TABLE deliveries (
	id INTEGER NOT NULL, 
	outbox VARCHAR(40) NOT NULL, 
	message VARCHAR(40) NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	subject VARCHAR(200) NOT NULL, 
	event_seq INTEGER, 
	notice_id INTEGER, 
	state VARCHAR(20) NOT NULL, 
	tries INTEGER NOT NULL, 
	allowed INTEGER NOT NULL, 
	due_at DATETIME NOT NULL, 
	added_at DATETIME NOT NULL, 
	CONSTRAINT pk_deliveries PRIMARY KEY (id), 
	CONSTRAINT fk_deliveries_event_seq FOREIGN KEY(event_seq) REFERENCES events (seq), 
	CONSTRAINT fk_deliveries_notice_id FOREIGN KEY(notice_id) REFERENCES notices (id), 
	CONSTRAINT fk_deliveries_outbox FOREIGN KEY(outbox) REFERENCES outboxes (name), 
	CONSTRAINT uq_deliveries_outbox_message UNIQUE (outbox, message)
);
CREATE TABLE delivery_attempts (
	id INTEGER NOT NULL, 
	delivery_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	outcome VARCHAR(20) NOT NULL, 
	status INTEGER, 
	excerpt TEXT NOT NULL, 
	seconds DOUBLE NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_delivery_attempts PRIMARY KEY (id), 
	CONSTRAINT fk_delivery_attempts_delivery_id FOREIGN KEY(delivery_id) REFERENCES deliveries (id)
);
CREATE TABLE evaluation_reports (
	id INTEGER NOT NULL, 
	purpose VARCHAR(20) NOT NULL, 
	projector_id INTEGER, 
	version_id INTEGER, 
	dataset_id INTEGER NOT NULL, 
	content TEXT NOT NULL, 
	digest VARCHAR(71) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_evaluation_reports PRIMARY KEY (id), 
	CONSTRAINT fk_evaluation_reports_dataset_id FOREIGN KEY(dataset_id) REFERENCES datasets (id), 
	CONSTRAINT fk_evaluation_reports_projector_id FOREIGN KEY(projector_id) REFERENCES projectors (id), 
	CONSTRAINT fk_evaluation_reports_version_id FOREIGN KEY(version_id) REFERENCES model_versions (id)
);
CREATE TABLE events (
	seq INTEGER NOT NULL, 
	at VARCHAR(32) NOT NULL, 
	actor VARCHAR(200) NOT NULL, 
	action VARCHAR(80) NOT NULL, 
	subject VARCHAR(200) NOT NULL, 
	payload TEXT NOT NULL, 
	prev_digest VARCHAR(71) NOT NULL, 
	key_id VARCHAR(71), 
	signature VARCHAR(88), 
	digest VARCHAR(71) NOT NULL, 
	CONSTRAINT pk_events PRIMARY KEY (seq), 
	CONSTRAINT uq_events_digest UNIQUE (digest), 
	CONSTRAINT uq_events_prev_digest UNIQUE (prev_digest)
);
CREATE TABLE governance_alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT governance_alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE model_versions (
	id INTEGER NOT NULL, 
	model_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	parent INTEGER, 
	digest VARCHAR(71) NOT NULL, 
	recipe JSON NOT NULL, 
	factor_a VARCHAR(71) NOT NULL, 
	factor_b VARCHAR(71) NOT NULL, 
	weights_digest VARCHAR(71) NOT NULL, 
	created_by VARCHAR(200) NOT NULL, 
	created_at DATETIME NOT NULL, 
	run_id VARCHAR(64) NOT NULL, 
	registry_version VARCHAR(20) NOT NULL, 
	CONSTRAINT pk_model_versions PRIMARY KEY (id), 
	CONSTRAINT fk_model_versions_factor_a FOREIGN KEY(factor_a) REFERENCES arrays (digest), 
	CONSTRAINT fk_model_versions_factor_b FOREIGN KEY(factor_b) REFERENCES arrays (digest), 
	CONSTRAINT fk_model_versions_model_id FOREIGN KEY(model_id) REFERENCES models (id), 
	CONSTRAINT uq_model_versions_model_id_number UNIQUE (model_id, number)
);
CREATE TABLE models (
	id INTEGER NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	source JSON NOT NULL, 
	weights_digest VARCHAR(71) NOT NULL, 
	config_digest VARCHAR(71) NOT NULL, 
	dimension INTEGER NOT NULL, 
	fold_path VARCHAR(200) NOT NULL, 
	logit_scale DOUBLE NOT NULL, 
	labels JSON NOT NULL, 
	labels_digest VARCHAR(71) NOT NULL, 
	bank_rows VARCHAR(71) NOT NULL, 
	bank_scores VARCHAR(71) NOT NULL, 
	bank_paraphrases VARCHAR(71) NOT NULL, 
	registered_at DATETIME NOT NULL, 
	CONSTRAINT pk_models PRIMARY KEY (id), 
	CONSTRAINT fk_models_bank_rows FOREIGN KEY(bank_rows) REFERENCES arrays (digest), 
	CONSTRAINT fk_models_bank_scores FOREIGN KEY(bank_scores) REFERENCES arrays (digest), 
	CONSTRAINT fk_models_bank_paraphrases FOREIGN KEY(bank_paraphrases) REFERENCES arrays (digest), 
	CONSTRAINT uq_models_name UNIQUE (name)
);
CREATE TABLE notices (
	id INTEGER NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	subject VARCHAR(200) NOT NULL, 
	occasion VARCHAR(80) NOT NULL, 
	data JSON NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_notices PRIMARY KEY (id), 
	CONSTRAINT uq_notices_kind_subject_occasion UNIQUE (kind, subject, occasion)
);
CREATE TABLE outboxes (
	name VARCHAR(40) NOT NULL, 
	event_cursor INTEGER NOT NULL, 
	notice_cursor INTEGER NOT NULL, 
	gone_at DATETIME, 
	added_at DATETIME NOT NULL, 
	CONSTRAINT pk_outboxes PRIMARY KEY (name)
);
CREATE TABLE overrides (
	id INTEGER NOT NULL, 
	request_id INTEGER, 
	version_id INTEGER, 
	about VARCHAR(71) NOT NULL, 
	actor VARCHAR(200) NOT NULL, 
	reason TEXT NOT NULL, 
	gates JSON NOT NULL, 
	overridden_at DATETIME NOT NULL, 
	CONSTRAINT pk_overrides PRIMARY KEY (id), 
	CONSTRAINT fk_overrides_request_id FOREIGN KEY(request_id) REFERENCES requests (id), 
	CONSTRAINT fk_overrides_version_id FOREIGN KEY(version_id) REFERENCES model_versions (id)
);
CREATE TABLE policies (
	id INTEGER NOT NULL, 
	digest VARCHAR(71) NOT NULL, 
	content TEXT NOT NULL, 
	adopted_by VARCHAR(200) NOT NULL, 
	adopted_at DATETIME NOT NULL, 
	CONSTRAINT pk_policies PRIMARY KEY (id)
);
CREATE TABLE private_texts (
	id INTEGER NOT NULL, 
	request_id INTEGER NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	scheme VARCHAR(20) NOT NULL, 
	salt VARCHAR(64), 
	name TEXT, 
	content BLOB, 
	commitment VARCHAR(71) NOT NULL, 
	added_at DATETIME NOT NULL, 
	CONSTRAINT pk_private_texts PRIMARY KEY (id), 
	CONSTRAINT fk_private_texts_request_id FOREIGN KEY(request_id) REFERENCES requests (id)
);
CREATE TABLE projectors (
	id INTEGER NOT NULL, 
	request_id INTEGER NOT NULL, 
	recipe JSON NOT NULL, 
	factor_a VARCHAR(71) NOT NULL, 
	factor_b VARCHAR(71) NOT NULL, 
	digest VARCHAR(71) NOT NULL, 
	rank INTEGER NOT NULL, 
	condition DOUBLE NOT NULL, 
	tolerance DOUBLE NOT NULL, 
	prepared_by VARCHAR(200) NOT NULL, 
	prepared_at DATETIME NOT NULL, 
	run_id VARCHAR(64), 
	CONSTRAINT pk_projectors PRIMARY KEY (id), 
	CONSTRAINT fk_projectors_factor_a FOREIGN KEY(factor_a) REFERENCES arrays (digest), 
	CONSTRAINT fk_projectors_factor_b FOREIGN KEY(factor_b) REFERENCES arrays (digest), 
	CONSTRAINT fk_projectors_request_id FOREIGN KEY(request_id) REFERENCES requests (id)
);
CREATE TABLE request_targets (
	id INTEGER NOT NULL, 
	request_id INTEGER NOT NULL, 
	label VARCHAR(200), 
	domain VARCHAR(200), 
	CONSTRAINT pk_request_targets PRIMARY KEY (id), 
	CONSTRAINT fk_request_targets_request_id FOREIGN KEY(request_id) REFERENCES requests (id)
);
CREATE TABLE requests (
	id INTEGER NOT NULL, 
	model_id INTEGER NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	basis VARCHAR(80) NOT NULL, 
	due_at DATETIME NOT NULL, 
	filed_by VARCHAR(200) NOT NULL, 
	filed_at DATETIME NOT NULL, 
	retention VARCHAR(40) NOT NULL, 
	held BOOLEAN NOT NULL, 
	redacted BOOLEAN NOT NULL, 
	CONSTRAINT pk_requests PRIMARY KEY (id), 
	CONSTRAINT fk_requests_model_id FOREIGN KEY(model_id) REFERENCES models (id)
);
CREATE TABLE tree_nodes (
	level INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_tree_nodes PRIMARY KEY (level, position)
);
CREATE TABLE version_members (
	version_id INTEGER NOT NULL, 
	request_id INTEGER NOT NULL, 
	projector_id INTEGER NOT NULL, 
	CONSTRAINT pk_version_members PRIMARY KEY (version_id, request_id), 
	CONSTRAINT fk_version_members_projector_id FOREIGN KEY(projector_id) REFERENCES projectors (id), 
	CONSTRAINT fk_version_members_request_id FOREIGN KEY(request_id) REFERENCES requests (id), 
	CONSTRAINT fk_version_members_version_id FOREIGN KEY(version_id) REFERENCES model_versions (id)
);
CREATE TRIGGER actor_keys_no_delete BEFORE DELETE ON actor_keys BEGIN SELECT RAISE(ABORT, 'rows of actor_keys are never removed'); END;
CREATE TRIGGER actor_keys_no_replace BEFORE INSERT ON actor_keys WHEN EXISTS (SELECT 1 FROM actor_keys WHERE (id = NEW.id) OR (key_id = NEW.key_id)) BEGIN SELECT RAISE(ABORT, 'rows of actor_keys are never removed'); END;
CREATE TRIGGER actors_no_delete BEFORE DELETE ON actors BEGIN SELECT RAISE(ABORT, 'rows of actors are never removed'); END;
CREATE TRIGGER actors_no_replace BEFORE INSERT ON actors WHEN EXISTS (SELECT 1 FROM actors WHERE (id = NEW.id) OR (name = NEW.name)) BEGIN SELECT RAISE(ABORT, 'rows of actors are never removed'); END;
CREATE TRIGGER arrays_no_delete BEFORE DELETE ON arrays BEGIN SELECT RAISE(ABORT, 'arrays is append-only'); END;
CREATE TRIGGER arrays_no_replace BEFORE INSERT ON arrays WHEN EXISTS (SELECT 1 FROM arrays WHERE (digest = NEW.digest) OR (rowid = NEW.rowid)) BEGIN SELECT RAISE(ABORT, 'arrays is append-only'); END;
CREATE TRIGGER arrays_no_update BEFORE UPDATE ON arrays BEGIN SELECT RAISE(ABORT, 'arrays is append-only'); END;
CREATE TRIGGER checkpoints_no_delete BEFORE DELETE ON checkpoints BEGIN SELECT RAISE(ABORT, 'checkpoints is append-only'); END;
CREATE TRIGGER checkpoints_no_replace BEFORE INSERT ON checkpoints WHEN EXISTS (SELECT 1 FROM checkpoints WHERE (id = NEW.id)) BEGIN SELECT RAISE(ABORT, 'checkpoints is append-only'); END;
CREATE TRIGGER checkpoints_no_update BEFORE UPDATE ON checkpoints BEGIN SELECT RAISE(ABORT, 'checkpoints is append-only'); END;
CREATE TRIGGER datasets_no_delete BEFORE DELETE ON datasets BEGIN SELECT RAISE(ABORT, 'rows of datasets are never removed'); END;
CREATE TRIGGER datasets_no_replace BEFORE INSERT ON datasets WHEN EXISTS (SELECT 1 FROM datasets WHERE (id = NEW.id) OR (name = NEW.name)) BEGIN SELECT RAISE(ABORT, 'rows of datasets are never removed'); END;
CREATE TRIGGER decisions_no_delete BEFORE DELETE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions is append-only'); END;
CREATE TRIGGER decisions_no_replace BEFORE INSERT ON decisions WHEN EXISTS (SELECT 1 FROM decisions WHERE (id = NEW.id)) BEGIN SELECT RAISE(ABORT, 'decisions is append-only'); END;
CREATE TRIGGER decisions_no_update BEFORE UPDATE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions is append-only'); END;
CREATE TRIGGER deliveries_no_delete BEFORE DELETE ON deliveries BEGIN SELECT RAISE(ABORT, 'rows of deliveries are never removed'); END;
CREATE TRIGGER deliveries_no_replace BEFORE INSERT ON deliveries WHEN EXISTS (SELECT 1 FROM deliveries WHERE (id = NEW.id) OR (outbox = NEW.outbox AND message = NEW.message)) BEGIN SELECT RAISE(ABORT, 'rows of deliveries are never removed'); END;
CREATE TRIGGER delivery_attempts_no_delete BEFORE DELETE ON delivery_attempts BEGIN SELECT RAISE(ABORT, 'delivery_attempts is append-only'); END;
CREATE TRIGGER delivery_attempts_no_replace BEFORE INSERT ON delivery_attempts WHEN EXISTS (SELECT 1 FROM delivery_attempts WHERE (id = NEW.id)) BEGIN SELECT RAISE(ABORT, 'delivery_attempts is append-only'); END;
CREATE TRIGGER delivery_attempts_no_update BEFORE UPDATE ON delivery_attempts BEGIN SELECT RAISE(ABORT, 'delivery_attempts is append-only'); END;
CREATE TRIGGER evaluation_reports_no_delete BEFORE DELETE ON evaluation_reports BEGIN SELECT RAISE(ABORT, 'evaluation_reports is append-only'); END;
CREATE TRIGGER evaluation_reports_no_replace BEFORE INSERT ON evaluation_reports WHEN EXISTS (SELECT 1 FROM evaluation_reports WHERE (id = NEW.id)) BEGIN SELECT RAISE(ABORT, 'evaluation_reports is append-only'); END;
CREATE TRIGGER evaluation_reports_no_update BEFORE UPDATE ON evaluation_reports BEGIN SELECT RAISE(ABORT, 'evaluation_reports is append-only'); END;
CREATE TRIGGER events_append BEFORE INSERT ON events WHEN NEW.seq <> (SELECT COALESCE(MAX(seq), 0) + 1 FROM events) OR NEW.prev_digest <> COALESCE((SELECT digest FROM events ORDER BY seq DESC LIMIT 1), 'sha256:0000000000000000000000000000000000000000000000000000000000000000') BEGIN SELECT RAISE(ABORT, 'an event must follow the head of the log'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE TRIGGER events_no_replace BEFORE INSERT ON events WHEN EXISTS (SELECT 1 FROM events WHERE (seq = NEW.seq) OR (digest = NEW.digest) OR (prev_digest = NEW.prev_digest)) BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE TRIGGER model_versions_no_delete BEFORE DELETE ON model_versions BEGIN SELECT RAISE(ABORT, 'model_versions is append-only'); END;
CREATE TRIGGER model_versions_no_replace BEFORE INSERT ON model_versions WHEN EXISTS (SELECT 1 FROM model_versions WHERE (id = NEW.id) OR (model_id = NEW.model_id AND number = NEW.number)) BEGIN SELECT RAISE(ABORT, 'model_versions is append-only'); END;
CREATE TRIGGER model_versions_no_update BEFORE UPDATE ON model_versions BEGIN SELECT RAISE(ABORT, 'model_versions is append-only'); END;
CREATE TRIGGER models_no_delete BEFORE DELETE ON models BEGIN SELECT RAISE(ABORT, 'models is append-only'); END;
CREATE TRIGGER models_no_replace BEFORE INSERT ON models WHEN EXISTS (SELECT 1 FROM models WHERE (id = NEW.id) OR (name = NEW.name)) BEGIN SELECT RAISE(ABORT, 'models is append-only'); END;
CREATE TRIGGER models_no_update BEFORE UPDATE ON models BEGIN SELECT RAISE(ABORT, 'models is append-only'); END;
CREATE TRIGGER notices_no_delete BEFORE DELETE ON notices BEGIN SELECT RAISE(ABORT, 'notices is append-only'); END;
CREATE TRIGGER notices_no_replace BEFORE INSERT ON notices WHEN EXISTS (SELECT 1 FROM notices WHERE (id = NEW.id) OR (kind = NEW.kind AND subject = NEW.subject AND occasion = NEW.occasion)) BEGIN SELECT RAISE(ABORT, 'notices is append-only'); END;
CREATE TRIGGER notices_no_update BEFORE UPDATE ON notices BEGIN SELECT RAISE(ABORT, 'notices is append-only'); END;
CREATE TRIGGER outboxes_no_delete BEFORE DELETE ON outboxes BEGIN SELECT RAISE(ABORT, 'rows of outboxes are never removed'); END;
CREATE TRIGGER outboxes_no_replace BEFORE INSERT ON outboxes WHEN EXISTS (SELECT 1 FROM outboxes WHERE (name = NEW.name) OR (rowid = NEW.rowid)) BEGIN SELECT RAISE(ABORT, 'rows of outboxes are never removed'); END;
CREATE TRIGGER overrides_no_delete BEFORE DELETE ON overrides BEGIN SELECT RAISE(ABORT, 'overrides is append-only'); END;
CREATE TRIGGER overrides_no_replace BEFORE INSERT ON overrides WHEN EXISTS (SELECT 1 FROM overrides WHERE (id = NEW.id)) BEGIN SELECT RAISE(ABORT, 'overrides is append-only'); END;
CREATE TRIGGER overrides_no_update BEFORE UPDATE ON overrides BEGIN SELECT RAISE(ABORT, 'overrides is append-only'); END;
CREATE TRIGGER policies_no_delete BEFORE DELETE ON policies BEGIN SELECT RAISE(ABORT, 'policies is append-only'); END;
CREATE TRIGGER policies_no_replace BEFORE INSERT ON policies WHEN EXISTS (SELECT 1 FROM policies WHERE (id = NEW.id)) BEGIN SELECT RAISE(ABORT, 'policies is append-only'); END;
CREATE TRIGGER policies_no_update BEFORE UPDATE ON policies BEGIN SELECT RAISE(ABORT, 'policies is append-only'); END;
CREATE TRIGGER private_texts_erase BEFORE UPDATE ON private_texts WHEN NEW.salt IS NOT NULL OR NEW.name IS NOT NULL OR NEW.content IS NOT NULL OR NEW.id <> OLD.id OR NEW.request_id <> OLD.request_id OR NEW.kind <> OLD.kind OR NEW.scheme <> OLD.scheme OR NEW.commitment <> OLD.commitment OR NEW.added_at <> OLD.added_at BEGIN SELECT RAISE(ABORT, 'private_texts can only be erased'); END;
CREATE TRIGGER private_texts_no_delete BEFORE DELETE ON private_texts BEGIN SELECT RAISE(ABORT, 'rows of private_texts are never removed'); END;
CREATE TRIGGER private_texts_no_replace BEFORE INSERT ON private_texts WHEN EXISTS (SELECT 1 FROM private_texts WHERE (id = NEW.id)) BEGIN SELECT RAISE(ABORT, 'rows of private_texts are never removed'); END;
CREATE TRIGGER projectors_no_delete BEFORE DELETE ON projectors BEGIN SELECT RAISE(ABORT, 'projectors is append-only'); END;
CREATE TRIGGER projectors_no_replace BEFORE INSERT ON projectors WHEN EXISTS (SELECT 1 FROM projectors WHERE (id = NEW.id)) BEGIN SELECT RAISE(ABORT, 'projectors is append-only'); END;
CREATE TRIGGER projectors_no_update BEFORE UPDATE ON projectors BEGIN SELECT RAISE(ABORT, 'projectors is append-only'); END;
CREATE TRIGGER request_targets_no_delete BEFORE DELETE ON request_targets BEGIN SELECT RAISE(ABORT, 'request_targets is append-only'); END;
CREATE TRIGGER request_targets_no_replace BEFORE INSERT ON request_targets WHEN EXISTS (SELECT 1 FROM request_targets WHERE (id = NEW.id)) BEGIN SELECT RAISE(ABORT, 'request_targets is append-only'); END;
CREATE TRIGGER request_targets_no_update BEFORE UPDATE ON request_targets BEGIN SELECT RAISE(ABORT, 'request_targets is append-only'); END;
CREATE TRIGGER requests_no_delete BEFORE DELETE ON requests BEGIN SELECT RAISE(ABORT, 'rows of requests are never removed'); END;
CREATE TRIGGER requests_no_replace BEFORE INSERT ON requests WHEN EXISTS (SELECT 1 FROM requests WHERE (id = NEW.id)) BEGIN SELECT RAISE(ABORT, 'rows of requests are never removed'); END;
CREATE TRIGGER tree_nodes_no_delete BEFORE DELETE ON tree_nodes BEGIN SELECT RAISE(ABORT, 'tree_nodes is append-only'); END;
CREATE TRIGGER tree_nodes_no_replace BEFORE INSERT ON tree_nodes WHEN EXISTS (SELECT 1 FROM tree_nodes WHERE (level = NEW.level AND position = NEW.position) OR (rowid = NEW.rowid)) BEGIN SELECT RAISE(ABORT, 'tree_nodes is append-only'); END;
CREATE TRIGGER tree_nodes_no_update BEFORE UPDATE ON tree_nodes BEGIN SELECT RAISE(ABORT, 'tree_nodes is append-only'); END;
CREATE TRIGGER version_members_no_delete BEFORE DELETE ON version_members BEGIN SELECT RAISE(ABORT, 'version_members is append-only'); END;
CREATE TRIGGER version_members_no_replace BEFORE INSERT ON version_members WHEN EXISTS (SELECT 1 FROM version_members WHERE (version_id = NEW.version_id AND request_id = NEW.request_id) OR (rowid = NEW.rowid)) BEGIN SELECT RAISE(ABORT, 'version_members is append-only'); END;
CREATE TRIGGER version_members_no_update BEFORE UPDATE ON version_members BEGIN SELECT RAISE(ABORT, 'version_members is append-only'); END;
