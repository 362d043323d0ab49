actor_keys.id integer NOT NULL DEFAULT nextval('actor_keys_id_seq'::regclass)
actor_keys.actor_id integer NOT NULL
actor_keys.key_id character varying(71) NOT NULL
actor_keys.public_key character varying(44) NOT NULL
actor_keys.added_at timestamp with time zone NOT NULL
actor_keys.retired_at timestamp with time zone
actors.id integer NOT NULL DEFAULT nextval('actors_id_seq'::regclass)
actors.name character varying(200) NOT NULL
actors.roles json NOT NULL
actors.active boolean NOT NULL
actors.added_at timestamp with time zone NOT NULL
aliases.model_id integer NOT NULL
aliases.name character varying(40) NOT NULL
aliases.version_id integer NOT NULL
arrays.digest character varying(71) NOT NULL
arrays.dtype character varying(16) NOT NULL
arrays.shape json NOT NULL
arrays.data bytea NOT NULL
checkpoints.id integer NOT NULL DEFAULT nextval('checkpoints_id_seq'::regclass)
checkpoints.size integer NOT NULL
checkpoints.root character varying(64) NOT NULL
checkpoints.key_id character varying(71) NOT NULL
checkpoints.note text NOT NULL
checkpoints.taken_at timestamp with time zone NOT NULL
datasets.id integer NOT NULL DEFAULT nextval('datasets_id_seq'::regclass)
datasets.name character varying(200) NOT NULL
datasets.role character varying(20) NOT NULL
datasets.location text NOT NULL
datasets.digest character varying(71) NOT NULL
datasets.images integer NOT NULL
datasets.skipped integer NOT NULL
datasets.manifest text NOT NULL
datasets.added_at timestamp with time zone NOT NULL
decisions.id integer NOT NULL DEFAULT nextval('decisions_id_seq'::regclass)
decisions.request_id integer NOT NULL
decisions.ruling character varying(20) NOT NULL
decisions.actor character varying(200) NOT NULL
decisions.projector_id integer
decisions.projector_digest character varying(71)
decisions.report_digest character varying(71)
decisions.policy_digest character varying(71) NOT NULL
decisions.break_glass boolean NOT NULL
decisions.comment_id integer
decisions.decided_at timestamp with time zone NOT NULL
deliveries.id integer NOT NULL DEFAULT nextval('deliveries_id_seq'::regclass)
deliveries.outbox character varying(40) NOT NULL
deliveries.message character varying(40) NOT NULL
deliveries.kind character varying(40) NOT NULL
deliveries.subject character varying(200) NOT NULL
deliveries.event_seq integer
deliveries.notice_id integer
deliveries.state character varying(20) NOT NULL
deliveries.tries integer NOT NULL
deliveries.allowed integer NOT NULL
deliveries.due_at timestamp with time zone NOT NULL
deliveries.added_at timestamp with time zone NOT NULL
delivery_attempts.id integer NOT NULL DEFAULT nextval('delivery_attempts_id_seq'::regclass)
delivery_attempts.delivery_id integer NOT NULL
delivery_attempts.number integer NOT NULL
delivery_attempts.outcome character varying(20) NOT NULL
delivery_attempts.status integer
delivery_attempts.excerpt text NOT NULL
delivery_attempts.seconds double precision NOT NULL
delivery_attempts.at timestamp with time zone NOT NULL
evaluation_reports.id integer NOT NULL DEFAULT nextval('evaluation_reports_id_seq'::regclass)
evaluation_reports.purpose character varying(20) NOT NULL
evaluation_reports.projector_id integer
evaluation_reports.version_id integer
evaluation_reports.dataset_id integer NOT NULL
evaluation_reports.content text NOT NULL
evaluation_reports.digest character varying(71) NOT NULL
evaluation_reports.created_at timestamp with time zone NOT NULL
events.seq integer NOT NULL
events.at character varying(32) NOT NULL
events.actor character varying(200) NOT NULL
events.action character varying(80) NOT NULL
events.subject character varying(200) NOT NULL
events.payload text NOT NULL
events.prev_digest character varying(71) NOT NULL
events.key_id character varying(71)
events.signature character varying(88)
events.digest character varying(71) NOT NULL
governance_alembic_version.version_num character varying(32) NOT NULL
model_versions.id integer NOT NULL DEFAULT nextval('model_versions_id_seq'::regclass)
model_versions.model_id integer NOT NULL
model_versions.number integer NOT NULL
model_versions.parent integer
model_versions.digest character varying(71) NOT NULL
model_versions.recipe json NOT NULL
model_versions.factor_a character varying(71) NOT NULL
model_versions.factor_b character varying(71) NOT NULL
model_versions.weights_digest character varying(71) NOT NULL
model_versions.created_by character varying(200) NOT NULL
model_versions.created_at timestamp with time zone NOT NULL
model_versions.run_id character varying(64) NOT NULL
model_versions.registry_version character varying(20) NOT NULL
models.id integer NOT NULL DEFAULT nextval('models_id_seq'::regclass)
models.name character varying(200) NOT NULL
models.source json NOT NULL
models.weights_digest character varying(71) NOT NULL
models.config_digest character varying(71) NOT NULL
models.dimension integer NOT NULL
models.fold_path character varying(200) NOT NULL
models.logit_scale double precision NOT NULL
models.labels json NOT NULL
models.labels_digest character varying(71) NOT NULL
models.bank_rows character varying(71) NOT NULL
models.bank_scores character varying(71) NOT NULL
models.bank_paraphrases character varying(71) NOT NULL
models.registered_at timestamp with time zone NOT NULL
notices.id integer NOT NULL DEFAULT nextval('notices_id_seq'::regclass)
notices.kind character varying(40) NOT NULL
notices.subject character varying(200) NOT NULL
notices.occasion character varying(80) NOT NULL
notices.data json NOT NULL
notices.at timestamp with time zone NOT NULL
outboxes.name character varying(40) NOT NULL
outboxes.event_cursor integer NOT NULL
outboxes.notice_cursor integer NOT NULL
outboxes.gone_at timestamp with time zone
outboxes.added_at timestamp with time zone NOT NULL
overrides.id integer NOT NULL DEFAULT nextval('overrides_id_seq'::regclass)
overrides.request_id integer
overrides.version_id integer
overrides.about character varying(71) NOT NULL
overrides.actor character varying(200) NOT NULL
overrides.reason text NOT NULL
overrides.gates json NOT NULL
overrides.overridden_at timestamp with time zone NOT NULL
policies.id integer NOT NULL DEFAULT nextval('policies_id_seq'::regclass)
policies.digest character varying(71) NOT NULL
policies.content text NOT NULL
policies.adopted_by character varying(200) NOT NULL
policies.adopted_at timestamp with time zone NOT NULL
private_texts.id integer NOT NULL DEFAULT nextval('private_texts_id_seq'::regclass)
private_texts.request_id integer NOT NULL
private_texts.kind character varying(20) NOT NULL
private_texts.scheme character varying(20) NOT NULL
private_texts.salt character varying(64)
private_texts.name text
private_texts.content bytea
private_texts.commitment character varying(71) NOT NULL
private_texts.added_at timestamp with time zone NOT NULL
projectors.id integer NOT NULL DEFAULT nextval('projectors_id_seq'::regclass)
projectors.request_id integer NOT NULL
projectors.recipe json NOT NULL
projectors.factor_a character varying(71) NOT NULL
projectors.factor_b character varying(71) NOT NULL
projectors.digest character varying(71) NOT NULL
projectors.rank integer NOT NULL
projectors.condition double precision NOT NULL
projectors.tolerance double precision NOT NULL
projectors.prepared_by character varying(200) NOT NULL
projectors.prepared_at timestamp with time zone NOT NULL
projectors.run_id character varying(64)
request_targets.id integer NOT NULL DEFAULT nextval('request_targets_id_seq'::regclass)
request_targets.request_id integer NOT NULL
request_targets.label character varying(200)
request_targets.domain character varying(200)
requests.id integer NOT NULL DEFAULT nextval('requests_id_seq'::regclass)
requests.model_id integer NOT NULL
requests.state character varying(20) NOT NULL
requests.basis character varying(80) NOT NULL
requests.due_at timestamp with time zone NOT NULL
requests.filed_by character varying(200) NOT NULL
requests.filed_at timestamp with time zone NOT NULL
requests.retention character varying(40) NOT NULL
requests.held boolean NOT NULL
requests.redacted boolean NOT NULL
tree_nodes.level integer NOT NULL
tree_nodes.position integer NOT NULL
tree_nodes.hash character varying(64) NOT NULL
version_members.version_id integer NOT NULL
version_members.request_id integer NOT NULL
version_members.projector_id integer NOT NULL
actor_keys CONSTRAINT fk_actor_keys_actor_id FOREIGN KEY (actor_id) REFERENCES actors(id)
actor_keys CONSTRAINT pk_actor_keys PRIMARY KEY (id)
actor_keys CONSTRAINT uq_actor_keys_key_id UNIQUE (key_id)
actors CONSTRAINT pk_actors PRIMARY KEY (id)
actors CONSTRAINT uq_actors_name UNIQUE (name)
aliases CONSTRAINT fk_aliases_model_id FOREIGN KEY (model_id) REFERENCES models(id)
aliases CONSTRAINT fk_aliases_version_id FOREIGN KEY (version_id) REFERENCES model_versions(id)
aliases CONSTRAINT pk_aliases PRIMARY KEY (model_id, name)
arrays CONSTRAINT pk_arrays PRIMARY KEY (digest)
checkpoints CONSTRAINT pk_checkpoints PRIMARY KEY (id)
datasets CONSTRAINT pk_datasets PRIMARY KEY (id)
datasets CONSTRAINT uq_datasets_name UNIQUE (name)
decisions CONSTRAINT fk_decisions_comment_id FOREIGN KEY (comment_id) REFERENCES private_texts(id)
decisions CONSTRAINT fk_decisions_projector_id FOREIGN KEY (projector_id) REFERENCES projectors(id)
decisions CONSTRAINT fk_decisions_request_id FOREIGN KEY (request_id) REFERENCES requests(id)
decisions CONSTRAINT pk_decisions PRIMARY KEY (id)
deliveries CONSTRAINT fk_deliveries_event_seq FOREIGN KEY (event_seq) REFERENCES events(seq)
deliveries CONSTRAINT fk_deliveries_notice_id FOREIGN KEY (notice_id) REFERENCES notices(id)
deliveries CONSTRAINT fk_deliveries_outbox FOREIGN KEY (outbox) REFERENCES outboxes(name)
deliveries CONSTRAINT pk_deliveries PRIMARY KEY (id)
deliveries CONSTRAINT uq_deliveries_outbox_message UNIQUE (outbox, message)
delivery_attempts CONSTRAINT fk_delivery_attempts_delivery_id FOREIGN KEY (delivery_id) REFERENCES deliveries(id)
delivery_attempts CONSTRAINT pk_delivery_attempts PRIMARY KEY (id)
evaluation_reports CONSTRAINT fk_evaluation_reports_dataset_id FOREIGN KEY (dataset_id) REFERENCES datasets(id)
evaluation_reports CONSTRAINT fk_evaluation_reports_projector_id FOREIGN KEY (projector_id) REFERENCES projectors(id)
evaluation_reports CONSTRAINT fk_evaluation_reports_version_id FOREIGN KEY (version_id) REFERENCES model_versions(id)
evaluation_reports CONSTRAINT pk_evaluation_reports PRIMARY KEY (id)
events CONSTRAINT pk_events PRIMARY KEY (seq)
events CONSTRAINT uq_events_digest UNIQUE (digest)
events CONSTRAINT uq_events_prev_digest UNIQUE (prev_digest)
governance_alembic_version CONSTRAINT governance_alembic_version_pkc PRIMARY KEY (version_num)
model_versions CONSTRAINT fk_model_versions_factor_a FOREIGN KEY (factor_a) REFERENCES arrays(digest)
model_versions CONSTRAINT fk_model_versions_factor_b FOREIGN KEY (factor_b) REFERENCES arrays(digest)
model_versions CONSTRAINT fk_model_versions_model_id FOREIGN KEY (model_id) REFERENCES models(id)
model_versions CONSTRAINT pk_model_versions PRIMARY KEY (id)
model_versions CONSTRAINT uq_model_versions_model_id_number UNIQUE (model_id, number)
models CONSTRAINT fk_models_bank_paraphrases FOREIGN KEY (bank_paraphrases) REFERENCES arrays(digest)
models CONSTRAINT fk_models_bank_rows FOREIGN KEY (bank_rows) REFERENCES arrays(digest)
models CONSTRAINT fk_models_bank_scores FOREIGN KEY (bank_scores) REFERENCES arrays(digest)
models CONSTRAINT pk_models PRIMARY KEY (id)
models CONSTRAINT uq_models_name UNIQUE (name)
notices CONSTRAINT pk_notices PRIMARY KEY (id)
notices CONSTRAINT uq_notices_kind_subject_occasion UNIQUE (kind, subject, occasion)
outboxes CONSTRAINT pk_outboxes PRIMARY KEY (name)
overrides CONSTRAINT fk_overrides_request_id FOREIGN KEY (request_id) REFERENCES requests(id)
overrides CONSTRAINT fk_overrides_version_id FOREIGN KEY (version_id) REFERENCES model_versions(id)
overrides CONSTRAINT pk_overrides PRIMARY KEY (id)
policies CONSTRAINT pk_policies PRIMARY KEY (id)
private_texts CONSTRAINT fk_private_texts_request_id FOREIGN KEY (request_id) REFERENCES requests(id)
private_texts CONSTRAINT pk_private_texts PRIMARY KEY (id)
projectors CONSTRAINT fk_projectors_factor_a FOREIGN KEY (factor_a) REFERENCES arrays(digest)
projectors CONSTRAINT fk_projectors_factor_b FOREIGN KEY (factor_b) REFERENCES arrays(digest)
projectors CONSTRAINT fk_projectors_request_id FOREIGN KEY (request_id) REFERENCES requests(id)
projectors CONSTRAINT pk_projectors PRIMARY KEY (id)
request_targets CONSTRAINT fk_request_targets_request_id FOREIGN KEY (request_id) REFERENCES requests(id)
request_targets CONSTRAINT pk_request_targets PRIMARY KEY (id)
requests CONSTRAINT fk_requests_model_id FOREIGN KEY (model_id) REFERENCES models(id)
requests CONSTRAINT pk_requests PRIMARY KEY (id)
tree_nodes CONSTRAINT pk_tree_nodes PRIMARY KEY (level, "position")
version_members CONSTRAINT fk_version_members_projector_id FOREIGN KEY (projector_id) REFERENCES projectors(id)
version_members CONSTRAINT fk_version_members_request_id FOREIGN KEY (request_id) REFERENCES requests(id)
version_members CONSTRAINT fk_version_members_version_id FOREIGN KEY (version_id) REFERENCES model_versions(id)
version_members CONSTRAINT pk_version_members PRIMARY KEY (version_id, request_id)
CREATE UNIQUE INDEX governance_alembic_version_pkc ON public.governance_alembic_version USING btree (version_num)
CREATE INDEX ix_actor_keys_actor_id ON public.actor_keys USING btree (actor_id)
CREATE INDEX ix_checkpoints_size ON public.checkpoints USING btree (size)
CREATE INDEX ix_decisions_request_id ON public.decisions USING btree (request_id)
CREATE INDEX ix_deliveries_outbox_state_due_at ON public.deliveries USING btree (outbox, state, due_at)
CREATE INDEX ix_delivery_attempts_delivery_id ON public.delivery_attempts USING btree (delivery_id)
CREATE INDEX ix_evaluation_reports_digest ON public.evaluation_reports USING btree (digest)
CREATE INDEX ix_evaluation_reports_projector_id ON public.evaluation_reports USING btree (projector_id)
CREATE INDEX ix_evaluation_reports_version_id ON public.evaluation_reports USING btree (version_id)
CREATE INDEX ix_events_action_seq ON public.events USING btree (action, seq)
CREATE INDEX ix_events_actor_seq ON public.events USING btree (actor, seq)
CREATE INDEX ix_events_subject_action_seq ON public.events USING btree (subject, action, seq)
CREATE INDEX ix_overrides_request_id ON public.overrides USING btree (request_id)
CREATE INDEX ix_overrides_version_id ON public.overrides USING btree (version_id)
CREATE INDEX ix_private_texts_commitment ON public.private_texts USING btree (commitment)
CREATE INDEX ix_private_texts_request_id ON public.private_texts USING btree (request_id)
CREATE INDEX ix_projectors_request_id ON public.projectors USING btree (request_id)
CREATE INDEX ix_request_targets_domain_request_id ON public.request_targets USING btree (domain, request_id)
CREATE INDEX ix_request_targets_label_request_id ON public.request_targets USING btree (label, request_id)
CREATE INDEX ix_request_targets_request_id ON public.request_targets USING btree (request_id)
CREATE INDEX ix_requests_basis_id ON public.requests USING btree (basis, id)
CREATE INDEX ix_requests_filed_by_id ON public.requests USING btree (filed_by, id)
CREATE INDEX ix_requests_held_id ON public.requests USING btree (held, id)
CREATE INDEX ix_requests_model_id_state_id ON public.requests USING btree (model_id, state, id)
CREATE INDEX ix_requests_state_id ON public.requests USING btree (state, id)
CREATE UNIQUE INDEX pk_actor_keys ON public.actor_keys USING btree (id)
CREATE UNIQUE INDEX pk_actors ON public.actors USING btree (id)
CREATE UNIQUE INDEX pk_aliases ON public.aliases USING btree (model_id, name)
CREATE UNIQUE INDEX pk_arrays ON public.arrays USING btree (digest)
CREATE UNIQUE INDEX pk_checkpoints ON public.checkpoints USING btree (id)
CREATE UNIQUE INDEX pk_datasets ON public.datasets USING btree (id)
CREATE UNIQUE INDEX pk_decisions ON public.decisions USING btree (id)
CREATE UNIQUE INDEX pk_deliveries ON public.deliveries USING btree (id)
CREATE UNIQUE INDEX pk_delivery_attempts ON public.delivery_attempts USING btree (id)
CREATE UNIQUE INDEX pk_evaluation_reports ON public.evaluation_reports USING btree (id)
CREATE UNIQUE INDEX pk_events ON public.events USING btree (seq)
CREATE UNIQUE INDEX pk_model_versions ON public.model_versions USING btree (id)
CREATE UNIQUE INDEX pk_models ON public.models USING btree (id)
CREATE UNIQUE INDEX pk_notices ON public.notices USING btree (id)
CREATE UNIQUE INDEX pk_outboxes ON public.outboxes USING btree (name)
CREATE UNIQUE INDEX pk_overrides ON public.overrides USING btree (id)
CREATE UNIQUE INDEX pk_policies ON public.policies USING btree (id)
CREATE UNIQUE INDEX pk_private_texts ON public.private_texts USING btree (id)
CREATE UNIQUE INDEX pk_projectors ON public.projectors USING btree (id)
CREATE UNIQUE INDEX pk_request_targets ON public.request_targets USING btree (id)
CREATE UNIQUE INDEX pk_requests ON public.requests USING btree (id)
CREATE UNIQUE INDEX pk_tree_nodes ON public.tree_nodes USING btree (level, "position")
CREATE UNIQUE INDEX pk_version_members ON public.version_members USING btree (version_id, request_id)
CREATE UNIQUE INDEX uq_actor_keys_key_id ON public.actor_keys USING btree (key_id)
CREATE UNIQUE INDEX uq_actors_name ON public.actors USING btree (name)
CREATE UNIQUE INDEX uq_datasets_name ON public.datasets USING btree (name)
CREATE UNIQUE INDEX uq_deliveries_outbox_message ON public.deliveries USING btree (outbox, message)
CREATE UNIQUE INDEX uq_events_digest ON public.events USING btree (digest)
CREATE UNIQUE INDEX uq_events_prev_digest ON public.events USING btree (prev_digest)
CREATE UNIQUE INDEX uq_model_versions_model_id_number ON public.model_versions USING btree (model_id, number)
CREATE UNIQUE INDEX uq_models_name ON public.models USING btree (name)
CREATE UNIQUE INDEX uq_notices_kind_subject_occasion ON public.notices USING btree (kind, subject, occasion)
CREATE TRIGGER actor_keys_no_delete BEFORE DELETE ON public.actor_keys FOR EACH ROW EXECUTE FUNCTION governance_kept() [O]
CREATE TRIGGER actor_keys_no_truncate BEFORE TRUNCATE ON public.actor_keys FOR EACH STATEMENT EXECUTE FUNCTION governance_kept() [O]
CREATE TRIGGER actors_no_delete BEFORE DELETE ON public.actors FOR EACH ROW EXECUTE FUNCTION governance_kept() [O]
CREATE TRIGGER actors_no_truncate BEFORE TRUNCATE ON public.actors FOR EACH STATEMENT EXECUTE FUNCTION governance_kept() [O]
CREATE TRIGGER arrays_no_change BEFORE DELETE OR UPDATE ON public.arrays FOR EACH ROW EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER arrays_no_truncate BEFORE TRUNCATE ON public.arrays FOR EACH STATEMENT EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER checkpoints_no_change BEFORE DELETE OR UPDATE ON public.checkpoints FOR EACH ROW EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER checkpoints_no_truncate BEFORE TRUNCATE ON public.checkpoints FOR EACH STATEMENT EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER datasets_no_delete BEFORE DELETE ON public.datasets FOR EACH ROW EXECUTE FUNCTION governance_kept() [O]
CREATE TRIGGER datasets_no_truncate BEFORE TRUNCATE ON public.datasets FOR EACH STATEMENT EXECUTE FUNCTION governance_kept() [O]
CREATE TRIGGER decisions_no_change BEFORE DELETE OR UPDATE ON public.decisions FOR EACH ROW EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER decisions_no_truncate BEFORE TRUNCATE ON public.decisions FOR EACH STATEMENT EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER deliveries_no_delete BEFORE DELETE ON public.deliveries FOR EACH ROW EXECUTE FUNCTION governance_kept() [O]
CREATE TRIGGER deliveries_no_truncate BEFORE TRUNCATE ON public.deliveries FOR EACH STATEMENT EXECUTE FUNCTION governance_kept() [O]
CREATE TRIGGER delivery_attempts_no_change BEFORE DELETE OR UPDATE ON public.delivery_attempts FOR EACH ROW EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER delivery_attempts_no_truncate BEFORE TRUNCATE ON public.delivery_attempts FOR EACH STATEMENT EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER evaluation_reports_no_change BEFORE DELETE OR UPDATE ON public.evaluation_reports FOR EACH ROW EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER evaluation_reports_no_truncate BEFORE TRUNCATE ON public.evaluation_reports FOR EACH STATEMENT EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER events_append BEFORE INSERT ON public.events FOR EACH ROW EXECUTE FUNCTION governance_events_append() [O]
CREATE TRIGGER events_no_change BEFORE DELETE OR UPDATE ON public.events FOR EACH ROW EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON public.events FOR EACH STATEMENT EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER model_versions_no_change BEFORE DELETE OR UPDATE ON public.model_versions FOR EACH ROW EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER model_versions_no_truncate BEFORE TRUNCATE ON public.model_versions FOR EACH STATEMENT EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER models_no_change BEFORE DELETE OR UPDATE ON public.models FOR EACH ROW EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER models_no_truncate BEFORE TRUNCATE ON public.models FOR EACH STATEMENT EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER notices_no_change BEFORE DELETE OR UPDATE ON public.notices FOR EACH ROW EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER notices_no_truncate BEFORE TRUNCATE ON public.notices FOR EACH STATEMENT EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER outboxes_no_delete BEFORE DELETE ON public.outboxes FOR EACH ROW EXECUTE FUNCTION governance_kept() [O]
CREATE TRIGGER outboxes_no_truncate BEFORE TRUNCATE ON public.outboxes FOR EACH STATEMENT EXECUTE FUNCTION governance_kept() [O]
CREATE TRIGGER overrides_no_change BEFORE DELETE OR UPDATE ON public.overrides FOR EACH ROW EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER overrides_no_truncate BEFORE TRUNCATE ON public.overrides FOR EACH STATEMENT EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER policies_no_change BEFORE DELETE OR UPDATE ON public.policies FOR EACH ROW EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER policies_no_truncate BEFORE TRUNCATE ON public.policies FOR EACH STATEMENT EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER private_texts_erase BEFORE UPDATE ON public.private_texts FOR EACH ROW EXECUTE FUNCTION governance_erase() [O]
CREATE TRIGGER private_texts_no_delete BEFORE DELETE ON public.private_texts FOR EACH ROW EXECUTE FUNCTION governance_kept() [O]
CREATE TRIGGER private_texts_no_truncate BEFORE TRUNCATE ON public.private_texts FOR EACH STATEMENT EXECUTE FUNCTION governance_kept() [O]
CREATE TRIGGER projectors_no_change BEFORE DELETE OR UPDATE ON public.projectors FOR EACH ROW EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER projectors_no_truncate BEFORE TRUNCATE ON public.projectors FOR EACH STATEMENT EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER request_targets_no_change BEFORE DELETE OR UPDATE ON public.request_targets FOR EACH ROW EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER request_targets_no_truncate BEFORE TRUNCATE ON public.request_targets FOR EACH STATEMENT EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER requests_no_delete BEFORE DELETE ON public.requests FOR EACH ROW EXECUTE FUNCTION governance_kept() [O]
CREATE TRIGGER requests_no_truncate BEFORE TRUNCATE ON public.requests FOR EACH STATEMENT EXECUTE FUNCTION governance_kept() [O]
CREATE TRIGGER tree_nodes_no_change BEFORE DELETE OR UPDATE ON public.tree_nodes FOR EACH ROW EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER tree_nodes_no_truncate BEFORE TRUNCATE ON public.tree_nodes FOR EACH STATEMENT EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER version_members_no_change BEFORE DELETE OR UPDATE ON public.version_members FOR EACH ROW EXECUTE FUNCTION governance_append_only() [O]
CREATE TRIGGER version_members_no_truncate BEFORE TRUNCATE ON public.version_members FOR EACH STATEMENT EXECUTE FUNCTION governance_append_only() [O]
FUNCTION governance_append_only() RETURNS trigger LANGUAGE plpgsql AS BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END
FUNCTION governance_erase() RETURNS trigger LANGUAGE plpgsql AS BEGIN IF NEW.salt IS NOT NULL OR NEW.name IS NOT NULL OR NEW.content IS NOT NULL OR NEW.id <> OLD.id OR NEW.request_id <> OLD.request_id OR NEW.kind <> OLD.kind OR NEW.scheme <> OLD.scheme OR NEW.commitment <> OLD.commitment OR NEW.added_at <> OLD.added_at THEN RAISE EXCEPTION 'private_texts can only be erased'; END IF; RETURN NEW; END
FUNCTION governance_events_append() RETURNS trigger LANGUAGE plpgsql AS DECLARE last record; BEGIN EXECUTE format('SELECT seq, digest FROM %I.%I ORDER BY seq DESC LIMIT 1', TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO last; IF NEW.seq <> COALESCE(last.seq, 0) + 1 OR NEW.prev_digest <> COALESCE(last.digest, 'sha256:0000000000000000000000000000000000000000000000000000000000000000') THEN RAISE EXCEPTION 'an event must follow the head of the log'; END IF; RETURN NEW; END
FUNCTION governance_kept() RETURNS trigger LANGUAGE plpgsql AS BEGIN RAISE EXCEPTION 'rows of % are never removed', TG_TABLE_NAME; END
