(* A minor that is a unit modulo m is not zero: the test of a certificate of kind `nonzero-minor`, and the
   log-rank of a head whose keys and queries are rational: docs/certificates.md. *)
From mathcomp Require Import all_ssreflect fingroup perm all_algebra ring.
From rankbound Require Import model exponential log_rank softmax_gauge theorem_a certified_gap.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Residues.
Variable m : nat.
Hypothesis m1 : (1 < m)%N.

(* rationals with a denominator prime to m *)
Definition local_at (x : rat) := exists d w : int, coprimez d m /\ x * d%:~R = w%:~R.

Lemma local_int (z : int) : local_at z%:~R.
Proof. by exists 1, z; rewrite coprimezE coprime1n mulr1. Qed.

Lemma local_add x y : local_at x -> local_at y -> local_at (x + y).
Proof.
move=> [d [w [cd e]]] [d' [w' [cd' e']]]; exists (d * d'), (w * d' + w' * d); rewrite coprimezMl cd cd'; split=> //.
by rewrite mulrDl !rmorphM rmorphD !rmorphM /= -e -e'; ring.
Qed.

Lemma local_mul x y : local_at x -> local_at y -> local_at (x * y).
Proof.
move=> [d [w [cd e]]] [d' [w' [cd' e']]]; exists (d * d'), (w * w'); rewrite coprimezMl cd cd'; split=> //.
by rewrite !rmorphM /= -e -e'; ring.
Qed.

(* z is a residue of x modulo m *)
Definition residue (x : rat) (z : int) := exists2 y, local_at y & x = z%:~R + m%:R * y.

Lemma residue_int z : residue z%:~R z.
Proof. by exists 0; rewrite ?mulr0 ?addr0 //; apply: (local_int 0). Qed.

Lemma residue_add x z x' z' : residue x z -> residue x' z' -> residue (x + x') (z + z').
Proof.
by move=> [y ly ->] [y' ly' ->]; exists (y + y'); [exact: local_add | rewrite rmorphD /=; ring].
Qed.

Lemma residue_mul x z x' z' : residue x z -> residue x' z' -> residue (x * x') (z * z').
Proof.
move=> [y ly ->] [y' ly' ->]; exists (z%:~R * y' + z'%:~R * y + m%:R * (y * y')); last by rewrite rmorphM /=; ring.
have lz := local_int z; have lz' := local_int z'; have lm : local_at m%:R := local_int m.
exact: (local_add (local_add (local_mul lz ly') (local_mul lz' ly)) (local_mul lm (local_mul ly ly'))).
Qed.

Lemma residue_sum (I : finType) (x : I -> rat) (z : I -> int) : (forall i, residue (x i) (z i)) ->
  residue (\sum_i x i) (\sum_i z i).
Proof.
by move=> h; elim/big_ind2: _ => [|????|i _]; [apply: (residue_int 0) | apply: residue_add | apply: h].
Qed.

Lemma residue_det r (S : 'M[rat]_r) (Z : 'M[int]_r) : (forall i j, residue (S i j) (Z i j)) ->
  residue (\det S) (\det Z).
Proof.
move=> h; apply: residue_sum => s; apply: residue_mul.
  by have := residue_int ((-1) ^+ s); rewrite rmorphX /= rmorphN1.
by elim/big_ind2: _ => [|????|i _]; [apply: (residue_int 1) | apply: residue_mul | apply: h].
Qed.

(* numerators and denominators: x = p / q in lowest terms, q prime to m and p = z q modulo m *)
Lemma residueP x z : coprimez (denq x) m -> (numq x = z * denq x %[mod m])%Z -> residue x z.
Proof.
move=> cop /eqP; rewrite eqz_mod_dvd => /dvdzP [w e]; have m0 : m%:R != 0 :> rat by rewrite pnatr_eq0 -lt0n ltnW.
exists ((x - z%:~R) / m%:R); last by rewrite [m%:R * _]mulrC divfK // addrC subrK.
exists (denq x), w; split=> //; apply: (mulIf m0); rewrite mulrAC divfK // mulrBl.
have -> : x * (denq x)%:~R = (numq x)%:~R by rewrite -[x in x * _]divq_num_den divfK // intr_eq0 denq_eq0.
by rewrite -rmorphM -rmorphB /= e rmorphM.
Qed.

(* a unit modulo m is the residue of no zero *)
Lemma unit_neq0 x z : residue x z -> coprimez z m -> x != 0.
Proof.
move=> [y [d [w [cd e]]] ->] cz; apply/negP => /eqP x0.
have zd : z * d = - (m%:Z * w).
  apply: (@intr_inj rat_numDomainType); rewrite rmorphN !rmorphM /= -e; apply/eqP; rewrite -addr_eq0 mulrA -mulrDl.
  by rewrite -[X in _ + X]/(m%:R * y) x0 mul0r.
have : coprimez (z * d) m by rewrite coprimezMl cz cd.
rewrite zd coprimeNz coprimezMl => /andP [+ _].
by rewrite coprimezE /= /coprime gcdnn gtn_eqF.
Qed.
End Residues.

(* K, Q of k rows, s <> 0: the log-rank of softmax (s K^T Q) is at most k, and at least r where r rows and
   columns of n C K^T Q, entries taken modulo m, have a determinant that is a unit *)
Theorem log_rank_by_minor (R : expField) n k r m (s : R) (K Q : 'M[rat]_(k, n)) (U V : 'M[int]_(k, n))
    (f g : 'I_r -> 'I_n) :
  (0 < n)%N -> s != 0 -> (1 < m)%N ->
  (forall c j, coprimez (denq (K c j)) m /\ (numq (K c j) = U c j * denq (K c j) %[mod m])%Z) ->
  (forall c j, coprimez (denq (Q c j)) m /\ (numq (Q c j) = V c j * denq (Q c j) %[mod m])%Z) ->
  coprimez (\det (\matrix_(a, b) \sum_c (n%:Z * U c (f a) - \sum_l U c l) * V c (g b))) m ->
  (r <= logrank (softmax (s *: map_mx ratr (K^T *m Q))) <= k)%N.
Proof.
move=> n0 s0 m1 KU QV unit; set L := K^T *m Q.
have -> : logrank (softmax (s *: map_mx ratr L)) = \rank (centre rat_fieldType n *m L).
  have [c e] := (softmax_eq (s *: map_mx ratr L) (softmax_stochastic _ n0)).1 erefl.
  rewrite /logrank -(centre_gauge (nR0 R n0) _ c) -e -scalemxAr mxrank_scale_nz //.
  have -> : centre R n = map_mx ratr (centre rat_fieldType n).
    apply/matrixP => i j; rewrite !mxE !big_ord1 !mxE rmorphB /= rmorphM /= mulr1 rmorph1 mulr1 fmorphV.
    by rewrite /= !ratr_nat mulr1.
  by rewrite -map_mxM mxrank_map.
apply/andP; split; last first.
  by apply: leq_trans (mxrankM_maxr _ _) _; apply: leq_trans (mxrankM_maxr _ _) (rank_leq_row _).
pose M := n%:R *: (centre rat_fieldType n *m L).
apply: leq_trans (_ : \rank M <= _)%N; last exact: mxrank_scale.
have ME i j : M i j = \sum_c (n%:R * K c i - \sum_l K c l) * Q c j.
  rewrite mxE centreE mulrBr mulVKf ?pnatr_eq0 -?lt0n // mxE mulr_sumr.
  under [X in _ - X]eq_bigr do rewrite mxE; rewrite exchange_big -sumrB; apply: eq_bigr => c _ /=.
  by under [X in _ - X]eq_bigr do rewrite mxE; rewrite mxE mulrBl mulrA mulr_suml.
pose S : 'M_r := mxsub f g M.
have Su : S \in unitmx.
  rewrite unitmxE unitfE; apply: (unit_neq0 m1 _ unit); apply: residue_det => // a b; rewrite [S a b]mxE ME [X in residue _ _ X]mxE.
  have res A B c j : coprimez (denq (A c j)) m /\ (numq (A c j) = B c j * denq (A c j) %[mod m])%Z -> residue m (A c j) (B c j).
    by case; apply: residueP.
  apply: residue_sum => // c; apply: residue_mul => //; last exact: res (QV _ _).
  apply: residue_add => //; first by apply: residue_mul => //; [exact: (residue_int m n) | exact: res (KU _ _)].
  rewrite -[- (\sum_l K c l)]mulN1r -[- (\sum_l U c l)]mulN1r; apply: residue_mul => //; first exact: (residue_int m (-1)).
  by apply: residue_sum => // l; apply: res (KU _ _).
rewrite -[r](mxrank_unit Su) /S mxsubrc.
apply: leq_trans (mxrankS (rowsub_sub _ _)) _.
by rewrite -mxrank_tr trmx_mxsub -[\rank M]mxrank_tr mxrankS // rowsub_sub.
Qed.
